"""What all losses and their recipe tables have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

Side = Literal["teacher", "student"]
"""Whose vectors an anchor is compared with: the teacher's (asymmetric), or those of the trained network (symmetric)."""

Reduction = Literal["none", "sum", "mean"]

Anchors = Literal["labelled", "unlabelled", "all"]
"""Which photos of a batch a loss is computed for."""

TeacherVectorsOf = Callable[[], NDArray[np.float32]]
"""Reads the teacher's vectors of all training photos: float32 [N, D]."""


class Loss(nn.Module):
    """A loss on plain tensors.

    `reads`: the fields of a `Batch` that `forward` takes, in its order. `smallest_batch`: the smallest number of
    photos that it can learn from; the runner leaves it out of smaller batches.
    """

    reads: tuple[str, ...]
    smallest_batch: int = 1

    def active_above(self, to_positives: NDArray[np.float32]) -> float | NDArray[np.float32] | None:
        """The similarity above which a negative has a gradient; None if every negative has one, or there are none.

        `to_positives`: float32 [Q], the similarity of each query to its positive. Returns one number, or float32
        [Q, 1].
        """
        return None

    def check_batch_size(self, photos: int) -> None:
        """Raise ValueError for a batch of fewer than `smallest_batch` photos."""
        if photos < self.smallest_batch:
            raise ValueError(
                f"{type(self).__name__} expects at least {self.smallest_batch} photos in a batch, got {photos}. Make "
                "the batches larger, or leave this loss out."
            )


def reduce_anchors(per_anchor: Tensor, reduction: Reduction) -> Tensor:
    """Reduce one value for each anchor, float [B], to [B], a sum or a mean."""
    if reduction == "none":
        return per_anchor
    return per_anchor.sum() if reduction == "sum" else per_anchor.mean()


class LossTable(BaseModel, ABC):
    """A table `[[losses]]` of a recipe. `weight`: the loss's factor in the sum. `on`: the photos that are its anchors.

    Each loss has a subclass with the field `name`, by which a recipe chooses it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, gt=0)
    on: Anchors = "all"

    @property
    def side(self) -> Side | None:
        """Whose vectors the pairs of this loss are made with; None if it has no pairs."""
        return None

    @property
    def needs_labels(self) -> bool:
        """Whether the loss reads what photos show, other than through pairs."""
        return False

    @property
    def teacher_neighbours(self) -> int:
        """How many of the teacher's vectors nearest to each photo's the loss reads; 0 if none."""
        return 0

    @abstractmethod
    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> Loss:
        """Build the loss. Only a loss that learns something from `teacher_vectors` first reads them, drawing by `seed`."""


class MarginTable(LossTable):
    """The table of a loss with a margin, which is stated, or found in the teacher's space when the run starts.

    `active_negatives`: the share of the negatives that the margin reaches before the first step. Both None: the loss's own
    default.
    """

    margin: float | None = None
    active_negatives: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _check_margin(self) -> Self:
        if self.margin is not None and self.active_negatives is not None:
            raise ValueError("expected either `margin`, or `active_negatives` to compute it from")
        return self

    def with_margin(self, margin: float) -> Self:
        """The same table with a margin in place of `active_negatives`."""
        return self.model_copy(update={"margin": margin, "active_negatives": None})


class PairLossTable(LossTable):
    """The table of a loss whose anchors are compared with `references`."""

    references: Side

    @property
    def side(self) -> Side:
        return self.references
