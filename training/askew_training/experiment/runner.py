"""Running an experiment: what is missing is trained, what is finished is kept."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.errors import AskewError
from askew_client.files import write_atomically
from askew_training.errors import DataError
from askew_training.experiment.cells import RECIPE, Cell, CellFolder, CellRecord, Stage
from askew_training.experiment.child import Ended
from askew_training.experiment.estimate import Estimate
from askew_training.experiment.grid import Grid, choose
from askew_training.experiment.margins import margins_for
from askew_training.experiment.outcome import in_words, record_of, settings_in_words
from askew_training.experiment.provenance import version_of_code
from askew_training.experiment.trainings import Trainings
from askew_training.experiment.workplace import Workplace
from askew_training.networks.checkpoint import Checkpoint, save_checkpoint
from askew_training.train.recipe import Recipe, read_recipe
from askew_training.train.run import prepare


class Runner:
    """Trains the cells of one experiment in its folder, `jobs` of them at the same time.

    The tuning of all recipes comes first. The full cells of a recipe follow as soon as its own tuning has ended.
    """

    def __init__(self, grid: Grid, place: Workplace, jobs: int, again: bool, say: Callable[[str], None]) -> None:
        """`again`: whether cells that failed, or whose recipe has changed, are trained again."""
        self._grid, self._place, self._jobs, self._again, self._say = grid, place, jobs, again, say
        self._code = version_of_code()
        self._estimate = Estimate(jobs)
        self._tuning: list[Cell] = []
        self._total = 0
        self._waiting: deque[CellFolder] = deque()
        self._records: dict[str, CellRecord] = {}

    def train(self, intake: Intake) -> list[CellRecord]:
        """Train all that is missing, and return the records of all cells. A failed cell is counted in `intake`."""
        margins: dict[str, dict[float, float]] = {}
        for recipe in self._grid.with_margin():
            try:
                margins[recipe] = self._margins(recipe)
            except AskewError as error:
                # Its own trainings will fail alike, and say so.
                self._say(f"{recipe}: its margins cannot be computed, so it keeps its own. {error}")
        self._tuning = self._grid.tuning(margins)
        start = self._grid.start()
        first = [*([start] if start else []), *self._tuning]
        final = self._grid.final({recipe: {} for recipe in self._grid.bases})
        self._total = len(first) + len(final)
        self._say(self._size_of(self._tuning, len(final)))
        # All that was finished earlier is taken over, or refused, before anything starts.
        self._admit(first)
        for recipe in self._grid.bases:
            self._release(recipe)
        self._train_waiting()
        records = [self._records[cell.name] for cell in [*first, *final] if cell.name in self._records]
        for record in records:
            if record.state == "failed":
                intake.skip(record.name, "cells that failed", record.reason)
            else:
                intake.taken += 1
        return records

    def _size_of(self, tuning: Sequence[Cell], final_count: int) -> str:
        experiment = self._grid.experiment
        shares = experiment.tuning.active_negatives if experiment.tuning else ()
        by_recipe = {recipe: sum(cell.recipe == recipe for cell in tuning) for recipe in self._grid.bases}
        sizes = sorted(set(by_recipe.values()))
        each = " or ".join(map(str, sizes))
        length = f" at {100 * experiment.tuning.length:.0f} % of the steps" if experiment.tuning else ""
        return (
            f"{len(self._grid.bases)} recipes. Tuning: {len(tuning)} cells{length}, {each} for each recipe"
            f"{f' (with {len(shares)} margins where the loss has one)' if shares else ''}. Then {final_count} cells of full length, "
            f"{len(experiment.seeds)} seeds for each recipe."
        )

    def _admit(self, cells: Sequence[Cell]) -> None:
        """Take over the records of cells that are finished; the others wait for their training."""
        folders = [CellFolder(self._place.out, cell) for cell in cells]
        self._refuse_changed(folders)
        for folder in folders:
            known = folder.record()
            if known is not None and known.state == "failed" and self._again:
                shutil.rmtree(folder.path)
                known = None
            if known is None:
                self._waiting.append(folder)
            else:
                self._records[known.name] = known

    def _release(self, recipe: str) -> None:
        """Admit the full cells of a recipe, if all of its tuning has ended."""
        tuned = [self._records.get(cell.name) for cell in self._tuning if cell.recipe == recipe]
        records = [record for record in tuned if record is not None]
        if len(records) < len(tuned):
            return
        settings = choose(recipe, records) if records else {}
        if settings is None:
            self._total -= len(self._grid.experiment.seeds)
            self._say(f"{recipe}: all of its tuning failed, so it is not trained.")
            return
        if settings:
            self._say(f"{recipe}: tuning chose {settings_in_words(settings)}.")
        self._admit(self._grid.final({recipe: settings}))

    def _train_waiting(self) -> None:
        """Train the cells that wait, and those that are released meanwhile."""
        with Trainings(self._jobs, self._options(), self._place) as trainings:
            while self._waiting or trainings.count:
                while self._waiting and not trainings.are_full:
                    folder = self._waiting.popleft()
                    self._say(f"[{len(self._records) + trainings.count + 1}/{self._total}] {folder.cell.name}")
                    folder.begin()
                    if folder.cell.stage == "start":
                        self._finish(folder, self._make_start(folder))
                    else:
                        trainings.begin(folder)
                if trainings.count:
                    self._finish(*trainings.next_ended())

    def _finish(self, folder: CellFolder, ended: Ended) -> None:
        """Write the record of a cell that has ended, and release what waited for it."""
        record = record_of(folder, ended, self._code)
        folder.finish(record)
        self._records[record.name] = record
        if record.state == "done":
            self._estimate.add(record.seconds, self._length(record.stage))
        name = f"{record.name}: " if self._jobs > 1 else ""
        self._say(f"    {name}{in_words(record)}{self._remaining()}")
        if record.stage == "tuning":
            self._release(record.recipe)

    def _length(self, stage: Stage) -> float:
        """Of a training, as a share of a whole one."""
        if stage == "tuning" and self._grid.experiment.tuning is not None:
            return self._grid.experiment.tuning.length
        return float(stage == "final")

    def _remaining(self) -> str:
        missing = self._total - len(self._records)
        tuning = sum(cell.name not in self._records for cell in self._tuning)
        length = tuning * self._length("tuning") + (missing - tuning) * self._length("final")
        return self._estimate.in_words(missing, length)

    def _refuse_changed(self, folders: Sequence[CellFolder]) -> None:
        for folder in folders:
            if not folder.is_of_another_recipe():
                continue
            if not self._again:
                raise DataError(
                    f"{folder.path} was trained by another recipe than the experiment's {folder.cell.recipe} now is; compare "
                    f"{folder.path / RECIPE} with it. Give --again to train such cells anew, or choose another folder."
                )
            self._say(f"{folder.cell.name}: its recipe has changed; it is trained again.")
            shutil.rmtree(folder.path)

    def _make_start(self, folder: CellFolder) -> Ended:
        """The network before its first step, as the checkpoint of a run."""
        started = time.monotonic()
        folder.run.mkdir(exist_ok=True)
        try:
            run = prepare(self._read(folder.path / RECIPE), self._place.cache, self._say, text=folder.cell.text)
            save_checkpoint(folder.checkpoint, Checkpoint(run.network.eval(), run.description))
        except AskewError as error:
            return Ended(str(error), time.monotonic() - started, ())
        return Ended("", time.monotonic() - started, ())

    def _margins(self, recipe: str) -> dict[float, float]:
        """The margin for each share of active negatives, computed once."""
        tuning = self._grid.experiment.tuning
        assert tuning is not None
        folder = self._place.out / "margins"
        folder.mkdir(exist_ok=True)
        path, source = folder / f"{recipe}.json", folder / f"{recipe}.toml"
        text = self._grid.untuned(recipe, self._grid.experiment.seeds[0])
        made_by = {"recipe": text, "shares": list(tuning.active_negatives)}
        try:
            stored = json.loads(path.read_bytes())
            if stored["made_by"] == made_by:
                return {float(share): float(margin) for share, margin in stored["margins"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        write_atomically(source, text.encode())
        found = margins_for(self._read(source), tuning.active_negatives, self._place.cache, self._say)
        write_atomically(path, json.dumps({"made_by": made_by, "margins": list(found.items())}, indent=1).encode())
        listed = ", ".join(f"{margin:g} for {100 * share:.0f} %" for share, margin in found.items()) or "its own alone"
        self._say(f"{recipe}: margins by the share of active negatives before the first step: {listed}.")
        return found

    def _read(self, path: Path) -> Recipe:
        return read_recipe(path, self._folders())

    def _folders(self) -> list[Path]:
        return [
            *self._place.data,
            self._place.vectors.parent,
            *sorted({p.parent for p in self._grid.loaded.recipes.values()}),
        ]

    def _options(self) -> list[str]:
        named = [part for folder in self._folders() for part in ("--data", str(folder))]
        return [*named, "--cache", str(self._place.cache), *self._place.options]
