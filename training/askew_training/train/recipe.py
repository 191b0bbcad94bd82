"""A recipe: everything that a training run depends on, as one TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from askew_training.errors import RecipeError
from askew_training.losses.base import Side
from askew_training.losses.registry import AnyLossTable
from askew_training.networks.published import published_address
from askew_training.train.recipe_tables import (
    AugmentationTable,
    BatchTable,
    DataTable,
    EncoderTable,
    MiningTable,
    NetworkTable,
    OptimiserTable,
    RunTable,
    Table,
    TeacherTable,
)

FEWEST_FOR_STATISTICS = 16
"""Photos in a batch from which batch normalisation can learn statistics."""


class Recipe(Table):
    """A whole recipe; its paths are relative to its file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    seed: int = Field(default=0, ge=0)
    network: NetworkTable
    teacher: TeacherTable | None = None
    data: DataTable
    batches: BatchTable
    mining: MiningTable | None = None
    augmentation: AugmentationTable = AugmentationTable()
    losses: tuple[AnyLossTable, ...] = Field(min_length=1)
    optimiser: OptimiserTable
    run: RunTable
    encoder: EncoderTable

    @property
    def side(self) -> Side | None:
        """Whose vectors the references of tuples are; None if batches are not drawn by tuples."""
        if self.batches.tuples is None:
            return None
        return next((loss.side for loss in self.losses if loss.side), "teacher")

    @property
    def held_out_seed(self) -> int:
        """The seed by which instances are held out, and the distractors of the validation drawn."""
        return self.seed if self.data.held_out_seed is None else self.data.held_out_seed

    @property
    def needs_teacher(self) -> bool:
        """Whether any part of it reads the teacher's vectors."""
        by_loss = any(loss.side != "student" for loss in self.losses)
        ranked = self.mining is not None and self.mining.choose == "teacher-ranked"
        return by_loss or ranked or self.network.head == "ridge"

    @property
    def matches_views(self) -> bool:
        """Whether the teacher describes the views that the student sees."""
        return self.teacher is not None and self.teacher.encoder is not None

    @property
    def needs_labels(self) -> bool:
        """Whether any part of it reads what photos show."""
        by_loss = any(loss.needs_labels for loss in self.losses)
        mined = self.mining is not None and self.mining.choose != "teacher-ranked"
        return by_loss or mined or self.batches.instances is not None

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        if self.needs_teacher and self.teacher is None:
            raise ValueError("this recipe learns from a teacher: add [teacher] with `vectors`, made by `askew cache`")
        if self.teacher is not None and not self.needs_teacher:
            raise ValueError("nothing in this recipe reads the teacher's vectors: leave [teacher] out")
        return self

    @model_validator(mode="after")
    def _check_photos(self) -> Self:
        data = self.data
        paired = next((loss for loss in self.losses if loss.side is not None), None)
        if paired is not None and self.batches.photos is not None:
            raise ValueError(
                f"the loss {paired.name} needs pairs: draw batches by `instances` and `photos_each`, or by `tuples`"
            )
        if self.needs_labels and not data.is_labelled:
            raise ValueError(
                "this recipe needs to know what photos show: add `manifest`, `folders`, `sfm120k` or `landmarks` to [data]"
            )
        if not data.is_labelled and not data.photos:
            raise ValueError(
                "there are no photos: add `manifest`, `folders`, `sfm120k`, `landmarks` or `photos` to [data]"
            )
        if data.held_out is not None and not data.is_labelled:
            raise ValueError("only labelled photos can be held out: leave `held_out` out")
        if data.held_out_seed is not None and data.held_out is None:
            raise ValueError("nothing is held out: add `held_out`, a share, or leave `held_out_seed` out")
        if data.sfm120k is not None and (data.manifest or data.folders or data.landmarks):
            raise ValueError("`sfm120k` has its own pairs: leave `manifest`, `folders` and `landmarks` out")
        if data.sfm120k is not None and data.held_out is not None:
            raise ValueError("`sfm120k` is validated on its own split `val`: leave `held_out` out")
        return self

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        if self.augmentation.mix and not self.matches_views:
            raise ValueError(
                "a teacher that described whole photos has no vector of two mixed views: name its file as `encoder` in "
                "[teacher], or leave `mix` out"
            )
        if self.matches_views and self.batches.shrink < 1:
            raise ValueError(
                "the teacher sees the student's views, so `shrink` would shrink both: leave it out; the student's size is "
                "`photo_size` in [batches], and the teacher's its own"
            )
        if self.network.statistics == "trained" and self.batches.anchors < FEWEST_FOR_STATISTICS:
            raise ValueError(
                f"statistics of {self.batches.anchors} photos are noise: expected {FEWEST_FOR_STATISTICS} or more in a batch, or "
                "other `statistics` in [network]"
            )
        return self

    @model_validator(mode="after")
    def _check_anchors(self) -> Self:
        for loss in self.losses:
            if loss.on == "labelled" and not self.data.is_labelled:
                raise ValueError(f'the loss {loss.name} is on = "labelled", but no photos of [data] have labels')
            if loss.on == "unlabelled" and self.batches.instances is not None and not self.batches.unlabelled:
                raise ValueError(f'the loss {loss.name} is on = "unlabelled": add `unlabelled` photos to [batches]')
            if loss.on == "unlabelled" and self.batches.tuples is not None:
                raise ValueError(
                    f'the loss {loss.name} is on = "unlabelled", but only queries of tuples are trained on: draw batches by '
                    "`instances` and `unlabelled`"
                )
        return self

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.batches.instances is not None and self.run.steps_each_epoch is None:
            raise ValueError("batches drawn by instances have no natural end: add `steps_each_epoch` to [run]")
        if self.mining is not None and self.run.steps_each_epoch is not None:
            raise ValueError("an epoch of tuples ends after the `queries` of [mining]: leave `steps_each_epoch` out")
        return self

    @model_validator(mode="after")
    def _check_tuples(self) -> Self:
        if (self.mining is None) != (self.batches.tuples is None):
            raise ValueError("`tuples` in [batches] and the table [mining] need each other")
        if self.mining is None:
            return self
        if len({loss.side for loss in self.losses} - {None}) != 1:
            raise ValueError('tuples need a loss of pairs, and one kind of `references`: "teacher" or "student"')
        smallest = max(self.mining.ranks, 2) if self.mining.choose == "teacher-ranked" else 2
        if self.mining.pool <= smallest:
            raise ValueError(f"a pool of {self.mining.pool} is too small: expected more than {smallest} photos")
        return self


def read_recipe(path: Path, folders: Sequence[Path] = ()) -> Recipe:
    """Read and validate a recipe. Raises RecipeError with a sentence that names the key.

    `folders`: where its relative paths are looked for, in this order; by default the folder of the recipe itself.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Expected a recipe, but {path} cannot be read: {error.strerror}.") from None
    # Text that is no UTF-8, no TOML, or nested too deep; a number of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not a TOML file: {error}.") from None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        reason = _explain(error)
        raise RecipeError(f"{path} is not a valid recipe: {reason}{'' if reason.endswith('?') else '.'}") from None
    return _resolve_paths(recipe, list(folders) or [path.parent])


def _explain(error: ValidationError) -> str:
    """The first error in words; a misspelt key comes first, because it is why another is missing."""
    errors = error.errors(include_url=False)
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(first["loc"][-1]), keys_at(Recipe, first["loc"][:-1]), 1, 0.6)
        return f"it has an unknown key, `{where}`" + (f": did you mean `{nearest[0]}`?" if nearest else "")
    if first["type"] == "union_tag_invalid":
        context = first["ctx"]
        known = context["expected_tags"].replace("'", "").split(", ")
        nearest = difflib.get_close_matches(str(context["tag"]), known, 1, 0.6)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"unknown loss {context['tag']!r}, at `{where}`: expected one of {context['expected_tags']}{hint}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{message}, at `{where}`" if where else message


def keys_at(table: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys that a table of a recipe may have. `place`: where it stands, as pydantic's errors say it."""
    tables = [table]
    for part in place:
        if isinstance(part, int):
            continue
        inner = [each for one in tables if part in one.model_fields for each in _tables_in(one.model_fields[part])]
        # A loss stands under its name, by which the right table of several is known.
        named = [each for each in tables if "name" in each.model_fields and part in _choices(each.model_fields["name"])]
        tables = inner or named
    return sorted({key for each in tables for key in each.model_fields})


def _tables_in(field: FieldInfo) -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = []
    waiting: list[object] = [field.annotation]
    while waiting:
        each = waiting.pop()
        if isinstance(each, type) and issubclass(each, BaseModel):
            found.append(each)
        waiting += get_args(each)
    return found


def _choices(field: FieldInfo) -> tuple[object, ...]:
    return get_args(field.annotation)


def _resolve_paths(recipe: Recipe, folders: Sequence[Path]) -> Recipe:
    """Make the recipe's paths relative to the first of some folders that holds each, and check that they exist."""
    content = recipe.model_dump()
    for table, key in (
        ("network", "checkpoint"),
        ("teacher", "vectors"),
        ("teacher", "encoder"),
        ("teacher", "checkpoint"),
        ("data", "manifest"),
        ("data", "licences"),
    ):
        if (content[table] or {}).get(key):
            content[table][key] = _existing(content[table][key], folders, f"{table}.{key}")
    for table in ("sfm120k", "landmarks"):
        for key, path in (content["data"][table] or {}).items():
            content["data"][table][key] = _existing(path, folders, f"data.{table}.{key}")
    for key in ("folders", "photos"):
        content["data"][key] = tuple(_existing(path, folders, f"data.{key}") for path in content["data"][key])
    if content["data"]["decoded"]:
        content["data"]["decoded"] = folders[0] / content["data"]["decoded"]
    return Recipe.model_validate(content)


def _existing(path: Path, folders: Sequence[Path], key: str) -> Path:
    found = next((folder / path for folder in folders if (folder / path).exists()), None)
    if found is None:
        also = "".join(f", nor in {folder}" for folder in folders[1:])
        address = published_address(path.name)
        if address is not None:
            raise RecipeError(
                f"The recipe's `{key}` names {folders[0] / path}, which does not exist{also}. It is published at {address}: "
                "fetch it, and put it there."
            )
        raise RecipeError(
            f"The recipe's `{key}` names {folders[0] / path}, which does not exist{also}. Correct the path, or create it first."
        )
    return found
