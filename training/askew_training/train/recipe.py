"""A recipe: everything that a training run depends on, as one TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from askew_training.errors import RecipeError
from askew_training.train.loss_tables import ContextualPart, LossPart, PrototypePart, Side
from askew_training.train.recipe_tables import (
    AugmentationPart,
    BatchPart,
    DataPart,
    EncoderPart,
    MiningPart,
    NetworkPart,
    OptimiserPart,
    Part,
    RunPart,
    TeacherPart,
)


class Recipe(Part):
    """A whole recipe; paths in it are relative to its file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    seed: int = Field(default=0, ge=0)
    network: NetworkPart
    teacher: TeacherPart | None = None
    data: DataPart
    batches: BatchPart
    mining: MiningPart | None = None
    augmentation: AugmentationPart = AugmentationPart()
    losses: tuple[LossPart, ...] = Field(min_length=1)
    optimiser: OptimiserPart
    run: RunPart
    encoder: EncoderPart

    @property
    def side(self) -> Side | None:
        """Whose vectors the references of tuples are; None where batches are drawn otherwise."""
        if self.batches.tuples is None:
            return None
        return next((loss.side for loss in self.losses if loss.side), "teacher")

    @property
    def needs_teacher(self) -> bool:
        """Whether a part of it reads the teacher's vectors."""
        by_loss = any(loss.side != "student" for loss in self.losses)
        ranked = self.mining is not None and self.mining.choose == "teacher-ranked"
        return by_loss or ranked or self.network.head == "ridge"

    @property
    def needs_labels(self) -> bool:
        """Whether a part of it reads what photos show."""
        by_loss = any(isinstance(loss, PrototypePart) for loss in self.losses)
        mined = self.mining is not None and self.mining.choose != "teacher-ranked"
        return by_loss or mined or self.batches.instances is not None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.needs_teacher and self.teacher is None:
            raise ValueError("this recipe learns from a teacher: add [teacher] with `vectors`, made by `askew cache`")
        if self.teacher is not None and not self.needs_teacher:
            raise ValueError("nothing in this recipe reads the teacher's vectors: leave [teacher] out")
        paired = next((loss for loss in self.losses if loss.side is not None), None)
        if paired is not None and self.batches.photos is not None:
            raise ValueError(
                f"the loss {paired.name} needs pairs: draw batches by `instances` and `photos_each`, or by `tuples`"
            )
        if self.needs_labels and not self.data.is_labelled:
            raise ValueError(
                "this recipe needs to know what photos show: add `manifest`, `folders`, `sfm120k` or `landmarks` to [data]"
            )
        if not self.data.is_labelled and not self.data.photos:
            raise ValueError(
                "there are no photos: add `manifest`, `folders`, `sfm120k`, `landmarks` or `photos` to [data]"
            )
        if self.batches.instances is not None and self.run.steps_each_epoch is None:
            raise ValueError("batches drawn by instances have no natural end: add `steps_each_epoch` to [run]")
        if self.mining is not None and self.run.steps_each_epoch is not None:
            raise ValueError("an epoch of tuples ends after the `queries` of [mining]: leave `steps_each_epoch` out")
        if self.data.held_out is not None and not self.data.is_labelled:
            raise ValueError("only labelled photos can be held out: leave `held_out` away")
        if self.data.sfm120k is not None and (self.data.manifest or self.data.folders or self.data.landmarks):
            raise ValueError("`sfm120k` comes with its own pairs: leave `manifest`, `folders` and `landmarks` out")
        if self.data.sfm120k is not None and self.data.held_out is not None:
            raise ValueError("`sfm120k` is validated on its own split `val`: leave `held_out` out")
        return self

    @model_validator(mode="after")
    def _possible_tuples(self) -> Self:
        if (self.mining is None) != (self.batches.tuples is None):
            raise ValueError("`tuples` in [batches] and the table [mining] go together")
        sides = {loss.side for loss in self.losses} - {None}
        if self.mining is not None and len(sides) != 1:
            raise ValueError('tuples need a loss of pairs, and one kind of `references`: "teacher" or "student"')
        smallest = max(self.mining.ranks, 2) if self.mining and self.mining.choose == "teacher-ranked" else 2
        if self.mining is not None and self.mining.pool <= smallest:
            raise ValueError(f"a pool of {self.mining.pool} is too small: expected more than {smallest} photos")
        contextual = [loss for loss in self.losses if isinstance(loss, ContextualPart)]
        if any(loss.among == "all" and loss.neighbours is None for loss in contextual):
            raise ValueError('contextual-similarity among "all" needs to know how many `neighbours`')
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe. Raises RecipeError with a sentence that names the key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Expected a recipe, but {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no TOML file: {error}.") from None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path} does not hold together: {_sentence(error)}.") from None
    return _with_paths_from(recipe, path.parent)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"it has a key that no recipe has, `{where}`"
    if first["type"] == "union_tag_invalid":
        context = first["ctx"]
        return f"there is no loss {context['tag']!r}, at `{where}`: expected one of {context['expected_tags']}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{message}, at `{where}`" if where else message


def _with_paths_from(recipe: Recipe, folder: Path) -> Recipe:
    """Make the recipe's paths relative to its own file, and see that each is there."""
    content = recipe.model_dump()
    for table, key in (("network", "checkpoint"), ("teacher", "vectors"), ("data", "manifest"), ("data", "licences")):
        if (content[table] or {}).get(key):
            content[table][key] = _found(folder / content[table][key], f"{table}.{key}")
    for table in ("sfm120k", "landmarks"):
        for key, path in (content["data"][table] or {}).items():
            content["data"][table][key] = _found(folder / path, f"data.{table}.{key}")
    for key in ("folders", "photos"):
        content["data"][key] = tuple(_found(folder / path, f"data.{key}") for path in content["data"][key])
    if content["data"]["decoded"]:
        content["data"]["decoded"] = folder / content["data"]["decoded"]
    return Recipe.model_validate(content)


def _found(path: Path, key: str) -> Path:
    if not path.exists():
        raise RecipeError(f"The recipe's `{key}` names {path}, and there is nothing. Correct it, or make it first.")
    return path
