"""The tables of a recipe, except for those of losses, which are defined with each loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from askew_training.losses.base import Anchors
from askew_training.networks.names import PoolingName

Statistics = Literal["frozen", "re-estimated", "trained"]
Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """A table of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkTable(Table):
    """The network that is trained: a checkpoint to continue from, or a trunk with weights and a head.

    `projection`: channels of a 1×1 convolution and ReLU after the trunk (as in the paper's students). `pooling`: how a
    trunk's feature map becomes one vector. `head`: the linear layer after pooling: "none", "random", "whitening" (a PCA
    of the training photos with the power `whitening_power`), "ridge" (the closed-form regression of the teacher's
    vectors on what the network pools at the start), or "kept", a checkpoint's own. `statistics` of batch normalisation: those
    of the initial weights ("frozen"), "re-estimated" on training views before each epoch, or "trained" with the batches.
    """

    checkpoint: Path | None = None
    trunk: str | None = None
    weights: str | None = None
    projection: int | None = Field(default=None, ge=1)
    pooling: PoolingName | None = None
    head: Literal["none", "random", "whitening", "ridge", "kept"] = "none"
    dim: int | None = Field(default=None, ge=1)
    whitening_power: Share = 0.5
    ridge: float = Field(default=1e-3, gt=0)
    statistics: Statistics = "frozen"

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if (self.checkpoint is None) == (self.trunk is None):
            raise ValueError("expected either `checkpoint`, or `trunk` and `weights`")
        if self.trunk is not None and self.weights is None:
            raise ValueError('a trunk needs `weights`: a file, a package, "timm" or "random"')
        if self.checkpoint is not None and (self.weights or self.projection or self.pooling):
            raise ValueError("a checkpoint has its own weights, projection and pooling: leave those keys out")
        if self.trunk is not None and self.head == "kept":
            raise ValueError('a trunk has no head to keep: expected `head` "none", "random", "whitening" or "ridge"')
        if self.head in ("random", "whitening") and self.dim is None:
            raise ValueError(f'a head of kind "{self.head}" needs `dim`, the dimensions of its vectors')
        return self


class TeacherTable(Table):
    """The teacher: its vectors of whole photos, or the network itself.

    `vectors`: a folder made by `askew cache`. `checkpoint`: a checkpoint, a published network, which is imported without its
    whitening, or an encoder file, which describes the whole photos when the run starts. `encoder`: such a file, which
    describes the views that the student sees, in each step, or, with `views`, K fixed views of each photo when the run starts.
    `photo_size`: the longest side at which the `checkpoint` sees photos, or the `encoder` views, in place of its own.
    """

    vectors: Path | None = None
    checkpoint: Path | None = None
    encoder: Path | None = None
    views: int | None = Field(default=None, ge=1)
    photo_size: int | None = Field(default=None, ge=96)

    @property
    def file(self) -> Path | None:
        """The network, if the run needs it."""
        return self.encoder or self.checkpoint

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.checkpoint is not None and (self.vectors is not None or self.encoder is not None):
            raise ValueError(
                "`checkpoint` describes the whole photos by itself: leave `vectors` out, or name it `encoder` to match views"
            )
        if self.file is None and self.vectors is None:
            raise ValueError(
                "expected `vectors`, made by `askew cache`, a `checkpoint`, or an `encoder` that describes views"
            )
        if self.views is not None and self.encoder is None:
            raise ValueError("`views` are described by an `encoder`: name the teacher's file")
        of_file = self.checkpoint is not None and self.checkpoint.suffix == ".onnx"
        if self.photo_size is not None and (self.file is None or of_file):
            raise ValueError(
                "vectors and encoder files of whole photos have a size of their own: leave `photo_size` out"
            )
        return self


class Sfm120kTable(Table):
    """SfM-120k: the published pickle, and the folder `ims` of its photos."""

    pickle: Path
    images: Path


class LandmarksTable(Table):
    """Google Landmarks v2: `train_clean.csv` or `train.csv`, and the folder `train` of its photos."""

    csv: Path
    images: Path


class DataTable(Table):
    """The photos, and which of them are held out for validation.

    `manifest`: its role `train`. `folders`: folders of folders, one for each instance. `sfm120k`: its listed pairs;
    validation uses its own split `val`. `landmarks`: its landmarks. `photos`: folders of unlabelled photos.
    `held_out`: the share of instances that is never trained on; which they are, and which `validation_distractors`, depends
    on `held_out_seed`, or on the recipe's seed without it. `validation_distractors`: unlabelled photos in the gallery of the
    validation. `decoded`: a folder for decoded, shrunk photos.
    """

    manifest: Path | None = None
    folders: tuple[Path, ...] = ()
    sfm120k: Sfm120kTable | None = None
    landmarks: LandmarksTable | None = None
    photos: tuple[Path, ...] = ()
    licences: Path
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    held_out_seed: Annotated[int, Field(ge=0)] | None = None
    validation_distractors: int = Field(default=0, ge=0)
    decoded: Path | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether any source states what its photos show."""
        return bool(self.manifest or self.folders or self.sfm120k or self.landmarks)


class BatchTable(Table):
    """What a step sees.

    `photo_size`: the longest side in training, pixels; several of them, as a list or as `photo_sizes`, are drawn for each
    batch, and `photo_size` is the largest. `shrink`: the largest share of its own longest side that a photo
    may have, if a student will see photos smaller than its teacher does. One of three: `photos`, drawn from all photos
    regardless of labels; `instances`, groups of `photos_each` photos of one instance, with `unlabelled` further photos
    in `views` views each, every one of them an instance by itself; `tuples` of a query, a positive and negatives, made
    as [mining] states. `accumulate`: batches for each step of the optimiser.
    """

    photo_size: int = Field(ge=96)
    photo_sizes: tuple[Annotated[int, Field(ge=96)], ...] = ()
    shrink: Annotated[float, Field(gt=0, le=1)] = 1.0
    photos: int | None = Field(default=None, ge=1)
    instances: int | None = Field(default=None, ge=2)
    tuples: int | None = Field(default=None, ge=1)
    photos_each: int = Field(default=2, ge=2)
    unlabelled: int = Field(default=0, ge=0)
    views: int = Field(default=2, ge=1)
    accumulate: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _read_sizes(cls, content: object) -> object:
        if not isinstance(content, dict) or not isinstance(content.get("photo_size"), list | tuple):
            return content
        sizes = content["photo_size"]
        if not sizes or not all(type(each) is int for each in sizes) or len(set(sizes)) != len(sizes):
            raise ValueError("expected `photo_size` to be a whole number of pixels, or a list of different ones")
        return {**content, "photo_size": max(sizes), "photo_sizes": tuple(sizes)}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that batches are shown to the network at."""
        return self.photo_sizes or (self.photo_size,)

    def anchors_on(self, anchors: Anchors) -> int:
        """How many labelled or unlabelled vectors a full batch has for losses; drawn by photos, all may be either."""
        if self.instances is None or anchors == "all":
            return self.anchors
        labelled = self.instances * self.photos_each
        return labelled if anchors == "labelled" else self.anchors - labelled

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.photo_sizes and max(self.photo_sizes) != self.photo_size:
            raise ValueError("`photo_size` is the largest of `photo_sizes`: leave one of them out")
        return self

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        if sum(way is not None for way in (self.photos, self.instances, self.tuples)) != 1:
            raise ValueError("expected one of `photos`, `instances` (and `photos_each`), or `tuples` (and [mining])")
        return self

    @property
    def anchors(self) -> int:
        """The number of vectors in a full batch for which losses have a value."""
        if self.instances is not None:
            return self.instances * self.photos_each + self.unlabelled * self.views
        return self.photos or self.tuples or 0


class AugmentationTable(Table):
    """How photos are changed before the network sees them; the defaults change nothing.

    `smallest_crop`: the smallest area of a random crop, as a share. `perspective`: how far its corners move, as a share
    of its sides. `colour`: how much brightness, contrast and saturation change. `blur`, `glare`: their probabilities.
    `mix`: how often another view is mixed into a view, for a teacher that describes views.
    """

    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    perspective: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.0
    blur: Share = 0.0
    glare: Share = 0.0
    mix: Share = 0.0


class MiningTable(Table):
    """How the tuples of each epoch are made, if batches are drawn by `tuples`.

    `choose`: "hard", the negatives that the network finds most similar to the query at that time; "random"; or
    "teacher-ranked", without labels: two of the query's `ranks` nearest for the teacher, the nearer as the positive and
    the farther as the negative. `queries`: tuples in an epoch. `negatives`: of each. `pool`: photos, drawn again for
    each epoch, that negatives are chosen from.
    """

    choose: Literal["hard", "random", "teacher-ranked"] = "hard"
    queries: int = Field(default=2000, ge=1)
    negatives: int = Field(default=5, ge=1)
    pool: int = Field(default=20000, ge=2)
    ranks: int = Field(default=300, ge=2)


class OptimiserTable(Table):
    """The optimiser and its learning rate.

    `warmup_steps`: the rate rises linearly; after them, it falls by `schedule`: "exponential" multiplies it by `decay`
    for each epoch (the paper: e^−0.01), "cosine" ends at 0. `clip`: the largest norm of the gradient.
    """

    name: Literal["adam", "adamw", "sgd"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "exponential", "cosine"] = "constant"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    warmup_steps: int = Field(default=0, ge=0)
    clip: float | None = Field(default=None, gt=0)


class RunTable(Table):
    """The length of the run, and its precision.

    It ends after `epochs`, or after so many `minutes` of training, reading and preparing not counted; then no two runs are
    equal to the bit. It is saved each `save_each_steps` steps, and at least every five minutes. `ema`: the decay of the moving average of the weights that is measured and kept in their place.

    `steps_each_epoch`: batches in an epoch. Batches drawn by instances need it; without it, an epoch of `photos` sees
    each photo once. `gradient_norms_each_steps`: how often the gradient of each loss is measured, if there are several; it
    takes a backward pass for each. `precision`: "bf16" computes convolutions in bfloat16, on a CPU only if its processor is fast at it.
    """

    epochs: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    steps_each_epoch: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    save_each_steps: int = Field(default=200, ge=1)
    gradient_norms_each_steps: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("a run ends by `epochs` or by `minutes`: expected one of them")
        return self


class EncoderTable(Table):
    """What the network will be used for: the photo size and scales of the encoder, stored in its checkpoint."""

    photo_size: int = Field(ge=96)
    scales: tuple[Annotated[float, Field(gt=0, le=4)], ...] = (1.0,)
