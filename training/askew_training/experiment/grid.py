"""Which cells an experiment has, and which settings its tuning chose."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from askew_training.errors import RecipeError
from askew_training.experiment.cells import Cell, CellRecord, has_margin, recipe_text
from askew_training.experiment.plan import START, Experiment, LoadedExperiment


@dataclass(frozen=True)
class Grid:
    """The cells of a loaded experiment.

    `bases`: the text of each recipe as it is shipped.
    """

    loaded: LoadedExperiment
    bases: Mapping[str, str]

    @property
    def experiment(self) -> Experiment:
        """What the file states."""
        return self.loaded.experiment

    def with_margin(self) -> list[str]:
        """The recipes whose margin is tuned."""
        tuning = self.experiment.tuning
        if tuning is None or not tuning.active_negatives:
            return []
        return [
            name for name, base in self.bases.items() if any(has_margin(loss) for loss in tomllib.loads(base)["losses"])
        ]

    def untuned(self, recipe: str, seed: int) -> str:
        """A recipe with the experiment's changes alone."""
        return self._text(recipe, {"seed": seed})

    def start(self) -> Cell | None:
        """The cell of the network before its first step."""
        recipe = self.experiment.start_of
        if recipe is None:
            return None
        seed = self.experiment.seeds[0]
        return Cell(START, "start", recipe, seed, self.untuned(recipe, seed))

    def tuning(self, margins: Mapping[str, Mapping[float, float]]) -> list[Cell]:
        """The cells of the tuning. `margins`: by recipe and share of active negatives."""
        table, seed = self.experiment.tuning, self.experiment.seeds[0]
        if table is None:
            return []
        cells = []
        for recipe in self.bases:
            without: Mapping[float | None, float | None] = {None: None}
            for share, margin in (margins.get(recipe) or without).items():
                for rate in table.rates:
                    settings = {"rate": rate}
                    name = f"{recipe}.tuning.rate-{rate:.3g}"
                    if share is not None and margin is not None:
                        settings |= {"margin": margin, "active_negatives": share}
                        name += f".active-{share:g}"
                    text = self._text(recipe, {**settings, "seed": seed, "length": table.length})
                    cells.append(Cell(name, "tuning", recipe, seed, text, settings))
        return cells

    def final(self, chosen: Mapping[str, Mapping[str, float]]) -> list[Cell]:
        """The cells that count. `chosen`: the settings of each recipe; a recipe that is not in it has none."""
        return [
            Cell(
                f"{recipe}.seed-{seed}", "final", recipe, seed, self._text(recipe, {**settings, "seed": seed}), settings
            )
            for recipe, settings in chosen.items()
            for seed in self.experiment.seeds
        ]

    def _text(self, recipe: str, settings: Mapping[str, float]) -> str:
        comment = f"{self.loaded.recipes[recipe].name}, as the experiment {self.experiment.name} changed it."
        return recipe_text(self.bases[recipe], comment, self.experiment.changes, settings)


def grid_of(loaded: LoadedExperiment) -> Grid:
    """Read the recipes of an experiment. Raises RecipeError."""
    bases: dict[str, str] = {}
    for name, path in loaded.recipes.items():
        try:
            bases[name] = path.read_text(encoding="utf-8")
            tomllib.loads(bases[name])
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeError(f"{path} is not a recipe: {error}.") from None
    return Grid(loaded, bases)


def choose(recipe: str, records: Sequence[CellRecord]) -> dict[str, float] | None:
    """The settings of the tuning cell with the highest score on held-out instances; None if all of them failed.

    Of equal ones, the first counts.
    """
    done = [each for each in records if each.recipe == recipe and each.stage == "tuning" and each.score is not None]
    return dict(max(done, key=lambda each: each.score or 0.0).settings) if done else None
