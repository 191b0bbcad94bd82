"""An experiment: what is trained, how it is tuned, and what it is measured on, as one TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from askew_training.errors import RecipeError
from askew_training.experiments import shipped_experiments
from askew_training.recipes import shipped_recipes
from askew_training.train.recipe_tables import Table

Value = str | bool | int | float | list[str | int | float]
Kind = Literal["asymmetric", "symmetric"]

START = "start"
"""In the table and in claims: the network that a recipe starts from, as it is before the first step."""


class TeacherEntry(Table):
    """The teacher: its encoder file. `dtype`: how the components of its vectors are stored."""

    encoder: Path
    dtype: Literal["f16", "f32"] = "f16"


class TuningTable(Table):
    """What is tried on held-out instances before the runs that count.

    `rates`: factors of a recipe's own learning rate. `active_negatives`: for losses with a margin, the shares of the mined
    negatives that are within it before the first step. `length`: of a tuning run, as a share of the whole.
    """

    rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1)
    active_negatives: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    length: Annotated[float, Field(gt=0, le=1)] = 0.5


class WhiteningTable(Table):
    """How networks are whitened before they are measured.

    `pairs`, `images`, `licences`: of each network's own whitening, for symmetric tests, as `askew whiten --whitening-pairs`
    takes them. `dim`: its dimensions; all if None. `shrinkage`: of the pairs' covariance. `teacher`: the checkpoint of the
    teacher with its whitening, which is measured, and which its students get for asymmetric tests.
    """

    pairs: Path
    images: Path
    licences: Path = Path("licences.toml")
    dim: Annotated[int, Field(ge=1)] | None = None
    shrinkage: Annotated[float, Field(ge=0, lt=1)] = 0.0
    teacher: Path


class DatasetTable(Table):
    """What is measured at the end: a manifest of photos with queries and galleries, or revisited Oxford or Paris.

    `benchmarks`: of the manifest; empty for all. `revisited`: the name of the set, whose photos and ground truth are in the
    folder `root`.
    """

    manifest: Path | None = None
    benchmarks: tuple[str, ...] = ()
    revisited: Literal["roxford5k", "rparis6k"] | None = None
    root: Path | None = None

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        if (self.manifest is None) == (self.revisited is None):
            raise ValueError("expected either `manifest`, or `revisited` and `root`")
        if (self.revisited is None) != (self.root is None):
            raise ValueError("`revisited` and `root` need each other")
        return self


class ClaimTable(Table):
    """A statement about two methods, which the code confirms, contradicts, or finds inside the noise.

    `method` and `than`: recipes by their file's stem, or "start". `relation`: of the mean average precision of `method` to that of `than`.
    `testing`, `than_testing`: how each is tested.
    """

    sentence: str
    method: str
    testing: Kind
    relation: Literal["better", "worse"]
    than: str
    than_testing: Kind | None = None


class Experiment(Table):
    """A whole experiment.

    `recipes`: names of shipped recipes, of whole shipped sets, or files beside the experiment's own. `seeds`: of the runs
    that count; tuning uses the first. `changes`: values that replace those of each recipe, by table. `start_of`: recipes whose network is also measured
    before its first step. Relative paths, those of recipes included, are looked for in the folder that the user names.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    recipes: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    teacher: TeacherEntry
    changes: dict[str, dict[str, Value]] = Field(default_factory=dict)
    tuning: TuningTable | None = None
    start_of: str | None = None
    whitening: WhiteningTable | None = None
    datasets: tuple[DatasetTable, ...] = Field(min_length=1)
    claims: tuple[ClaimTable, ...] = ()

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("each seed may occur once")
        return self


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment, the text of its file, and the file of each of its recipes by stem, in its order."""

    experiment: Experiment
    text: str
    recipes: dict[str, Path]

    @property
    def digest(self) -> str:
        """SHA-256 of its text, 64 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_experiment(name: str) -> LoadedExperiment:
    """Read a shipped experiment by name, or a file that ends in `.toml`. Raises RecipeError with a sentence."""
    path = _file_of(name)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"Expected an experiment, but {path} cannot be read: {error.strerror}.") from None
    # Text that is no UTF-8, no TOML, or nested too deep; a number of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not a TOML file: {error}.") from None
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = str(first["msg"]).removeprefix("Value error, ")
        raise RecipeError(f"{path} is not a valid experiment: {what}{f', at `{where}`' if where else ''}.") from None
    recipes = _recipes_of(experiment, path.parent)
    _check_claims(experiment, recipes, path)
    return LoadedExperiment(experiment, text, recipes)


def _file_of(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    shipped = shipped_experiments()
    if name not in shipped:
        raise RecipeError(
            f"There is no experiment {name[:80]!r}. Expected one of {', '.join(shipped)}, or the path of a file that ends in .toml."
        )
    return shipped[name]


def _recipes_of(experiment: Experiment, folder: Path) -> dict[str, Path]:
    shipped = shipped_recipes()
    found: dict[str, Path] = {}
    for name in experiment.recipes:
        chosen = [path for each, path in shipped.items() if name in (each, each.split("/")[0])]
        if name.endswith(".toml"):
            chosen = [folder / name]
            if not chosen[0].is_file():
                raise RecipeError(f"The experiment names the recipe {name}, but there is no file {chosen[0]}.")
        if not chosen:
            raise RecipeError(
                f"The experiment names the recipe {name!r}, which is not shipped. Expected one that `askew recipe list` shows, a "
                "whole set such as small, or a file that ends in .toml beside the experiment."
            )
        for path in chosen:
            if found.setdefault(path.stem, path) != path or path.stem == START:
                raise RecipeError(f"Two recipes of the experiment have the name {path.stem}. Rename one of the files.")
    return found


def _check_claims(experiment: Experiment, recipes: dict[str, Path], path: Path) -> None:
    named = {each for claim in experiment.claims for each in (claim.method, claim.than)}
    start = {experiment.start_of} if experiment.start_of is not None else set()
    known = {*recipes, *([START] if start else [])}
    unknown = sorted((named | start) - known)
    if unknown:
        raise RecipeError(
            f"{path} speaks of {unknown[0]!r}, which is none of its recipes. Expected one of {', '.join(known)}."
        )
