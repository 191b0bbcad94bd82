"""A recipe: everything that a training run depends on, as one TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from askew_training.errors import RecipeError

Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A table of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkPart(Part):
    """The network that is trained: a checkpoint to go on from, or a trunk with weights and a head.

    `projection`: channels of a 1×1 convolution and ReLU after the trunk (the paper's students). `head`: the linear
    layer after pooling: "none", "random", "whitening" (a PCA learned on the training photos, power
    `whitening_power`), or "ridge", the closed-form regression of the teacher's vectors on what the network pools at
    the start; "kept" is a checkpoint's own.
    """

    checkpoint: Path | None = None
    trunk: str | None = None
    weights: str | None = None
    projection: int | None = Field(default=None, ge=1)
    head: Literal["none", "random", "whitening", "ridge", "kept"] = "none"
    dim: int | None = Field(default=None, ge=1)
    whitening_power: Share = 0.5
    ridge: float = Field(default=1e-3, gt=0)

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.checkpoint is None) == (self.trunk is None):
            raise ValueError("expected either `checkpoint`, or `trunk` and `weights`")
        if self.trunk is not None and self.weights is None:
            raise ValueError('a trunk needs `weights`: a file, a package, "timm" or "random"')
        if self.checkpoint is not None and (self.weights or self.projection):
            raise ValueError("a checkpoint brings its own weights and projection: leave those keys out")
        if self.trunk is not None and self.head == "kept":
            raise ValueError('a trunk has no head to keep: expected `head` "none", "random", "whitening" or "ridge"')
        if self.head in ("random", "whitening") and self.dim is None:
            raise ValueError(f'a head of kind "{self.head}" needs `dim`, the dimensions of its vectors')
        return self


class TeacherPart(Part):
    """The teacher's vectors, as `askew cache` keeps them."""

    vectors: Path


class DataPart(Part):
    """The photos, and which of them are kept apart to validate on.

    `manifest`: its role `train`. `folders`: a folder of folders, one for each instance. `photos`: unlabelled.
    `held_out`: the share of instances that is never trained on. `validation_distractors`: unlabelled photos in the
    gallery of the validation. `decoded`: a folder for decoded, shrunk photos.
    """

    manifest: Path | None = None
    folders: tuple[Path, ...] = ()
    photos: tuple[Path, ...] = ()
    licences: Path
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    validation_distractors: int = Field(default=0, ge=0)
    decoded: Path | None = None


class BatchPart(Part):
    """What a step sees.

    `photo_size`: the longest side in training, pixels. `shrink`: the share of its own longest side that a photo has at
    most, where a student will see photos smaller than its teacher does. Either `photos`, drawn from all of them without regard to
    labels, or `instances` groups of
    `photos_each` photos of one instance, with `unlabelled` further photos seen `views` times each, every one of
    them an instance of its own. `accumulate`: batches for each step of the optimiser.
    """

    photo_size: int = Field(ge=96)
    shrink: Annotated[float, Field(gt=0, le=1)] = 1.0
    photos: int | None = Field(default=None, ge=1)
    instances: int | None = Field(default=None, ge=2)
    photos_each: int = Field(default=2, ge=2)
    unlabelled: int = Field(default=0, ge=0)
    views: int = Field(default=2, ge=1)
    accumulate: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.photos is None) == (self.instances is None):
            raise ValueError("expected either `photos`, or `instances` and `photos_each`")
        return self


class AugmentationPart(Part):
    """How photos are changed before the network sees them; all 0 (and `smallest_crop` 1) is not at all.

    `smallest_crop`: area of a random crop, as a share. `perspective`: how far its corners move, as a share of its
    sides. `colour`: how much brightness, contrast and saturation change. `blur`, `glare`: how often.
    """

    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    perspective: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.0
    blur: Share = 0.0
    glare: Share = 0.0


class LossPart(Part):
    """One loss and its weight in the sum. `references`: whose vectors an anchor is compared with."""

    name: Literal["contrastive", "regression"]
    weight: float = Field(default=1.0, gt=0)
    references: Literal["teacher", "student"] | None = None
    margin: float | None = None
    form: Literal["euclidean", "similarity"] = "euclidean"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name == "contrastive" and self.references is None:
            raise ValueError('a contrastive loss needs `references`: "teacher" (asymmetric) or "student" (symmetric)')
        if self.name == "regression" and (self.references or self.margin is not None or self.form != "euclidean"):
            raise ValueError("a regression takes only its `weight`")
        return self


class OptimiserPart(Part):
    """`warmup_steps`: the rate rises linearly; afterwards it falls as `schedule` says. `clip`: largest gradient norm.

    "exponential" multiplies the rate by `decay` after each epoch (the paper: e^−0.01), "cosine" ends at 0.
    """

    name: Literal["adam", "adamw", "sgd"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    warmup_steps: int = Field(default=0, ge=0)
    clip: float | None = Field(default=None, gt=0)


class RunPart(Part):
    """How long, and in which precision ("bf16" computes convolutions in bfloat16, on a CPU too).

    `steps_each_epoch`: batches in an epoch, where they are drawn by instances; else an epoch sees every photo once.
    """

    epochs: int = Field(ge=1)
    steps_each_epoch: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    save_each_steps: int = Field(default=200, ge=1)


class EncoderPart(Part):
    """What the network will be used for: the photo size and scales of the encoder, kept in its checkpoint."""

    photo_size: int = Field(ge=96)
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = (1.0,)


class Recipe(Part):
    """A whole recipe; paths in it are relative to its file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    seed: int = Field(default=0, ge=0)
    network: NetworkPart
    teacher: TeacherPart | None = None
    data: DataPart
    batches: BatchPart
    augmentation: AugmentationPart = AugmentationPart()
    losses: tuple[LossPart, ...] = Field(min_length=1)
    optimiser: OptimiserPart
    run: RunPart
    encoder: EncoderPart

    @property
    def needs_teacher(self) -> bool:
        """Whether a part of it reads the teacher's vectors."""
        reads = any(loss.name == "regression" or loss.references == "teacher" for loss in self.losses)
        return reads or self.network.head == "ridge"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.needs_teacher and self.teacher is None:
            raise ValueError("this recipe learns from a teacher: add [teacher] with `vectors`, made by `askew cache`")
        if self.teacher is not None and not self.needs_teacher:
            raise ValueError("nothing in this recipe reads the teacher's vectors: leave [teacher] out")
        contrastive = any(loss.name == "contrastive" for loss in self.losses)
        if contrastive and self.batches.instances is None:
            raise ValueError("a contrastive loss needs pairs: draw batches by `instances` and `photos_each`")
        labelled = self.data.manifest is not None or self.data.folders
        if self.batches.instances is not None and not labelled:
            raise ValueError("batches drawn by instances need labels: add `manifest` or `folders` to [data]")
        if not labelled and not self.data.photos:
            raise ValueError("there are no photos: add `manifest`, `folders` or `photos` to [data]")
        if self.batches.instances is not None and self.run.steps_each_epoch is None:
            raise ValueError("batches drawn by instances have no natural end: add `steps_each_epoch` to [run]")
        if self.batches.instances is None and self.run.steps_each_epoch is not None:
            raise ValueError("an epoch of `photos` sees each once: `steps_each_epoch` is for batches by instances")
        if self.data.held_out is not None and not labelled:
            raise ValueError("only labelled photos can be held out: leave `held_out` away")
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
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{message}, at `{where}`" if where else message


def _with_paths_from(recipe: Recipe, folder: Path) -> Recipe:
    """Make the recipe's paths relative to its own file, and see that each is there."""
    content = recipe.model_dump()
    for table, key in (("network", "checkpoint"), ("teacher", "vectors"), ("data", "manifest"), ("data", "licences")):
        if (content[table] or {}).get(key):
            content[table][key] = _found(folder / content[table][key], f"{table}.{key}")
    for key in ("folders", "photos"):
        content["data"][key] = tuple(_found(folder / path, f"data.{key}") for path in content["data"][key])
    if content["data"]["decoded"]:
        content["data"]["decoded"] = folder / content["data"]["decoded"]
    return Recipe.model_validate(content)


def _found(path: Path, key: str) -> Path:
    if not path.exists():
        raise RecipeError(f"The recipe's `{key}` names {path}, and there is nothing. Correct it, or make it first.")
    return path
