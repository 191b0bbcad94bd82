"""What one step gives to its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.losses.base import Side
from askew_training.networks.transfer import put
from askew_training.vectors.teacher_vectors import TeacherVectors


@dataclass(frozen=True)
class References:
    """What anchors are compared with: `vectors`, float [M, D]; `positives` and `negatives`, bool [B, M]."""

    vectors: Tensor
    positives: Tensor
    negatives: Tensor


@dataclass(frozen=True)
class Batch:
    """The vectors of one step, and which of them belong together.

    `anchors`: float [B, D], from the trained network. `teachers`: float [B, D], the teacher's vectors of the same
    photos. `photos`, `instances`: int64 [B]; two views of one photo have the same number, and so have two photos of one
    instance. A photo without a label is an instance by itself.

    `tuples`: the references of mined tuples; if None, anchors are compared with the batch itself. `neighbours`: float
    [B, K, D], the teacher's vectors nearest to each photo's. `prototypes`: float [C, D], and `classes`: int64 [B], the
    row of each anchor's prototype, −1 without. `teachers` is None without a teacher, and the others are None if no loss
    of the run reads them.
    """

    anchors: Tensor
    teachers: Tensor | None
    photos: Tensor
    instances: Tensor
    tuples: References | None = None
    neighbours: Tensor | None = None
    prototypes: Tensor | None = None
    classes: Tensor | None = None

    def inputs(self, reads: tuple[str, ...], side: Side | None) -> list[Tensor]:
        """The fields that a loss `reads`, in that order. `side`: whose vectors its pairs are made with."""
        fields = {
            "anchors": self.anchors,
            "teachers": self.teachers,
            "neighbours": self.neighbours,
            "prototypes": self.prototypes,
            "classes": self.classes,
        }
        if side is not None:
            pairs = self.tuples or self._pairs_in_batch(side)
            fields |= {"references": pairs.vectors, "positives": pairs.positives, "negatives": pairs.negatives}
        return [_require(name, fields[name]) for name in reads]

    def _pairs_in_batch(self, side: Side) -> References:
        """The batch itself as references.

        An anchor and itself are not a pair. With references from the teacher, neither are two views of one photo: the
        teacher has only one vector for them, and pulling towards that is what regression does.
        """
        same_instance = self.instances[:, None] == self.instances[None]
        if side == "student":
            vectors = self.anchors
            itself = torch.eye(len(self.instances), dtype=torch.bool, device=self.instances.device)
        else:
            vectors = _require("teachers", self.teachers)
            itself = self.photos[:, None] == self.photos[None]
        return References(vectors, same_instance & ~itself, ~same_instance)


@dataclass(frozen=True)
class Targets:
    """The teacher's vectors of some photos, and what else losses need; photos are given by index.

    `rows`: int64 [N], the photos' rows among the teacher's vectors. `neighbours`: int64 [all rows, K], the rows nearest
    to each row. `prototypes`: float32 [C, D], and `classes`: int64 [N], the row of each photo's prototype, or −1. None
    if no loss reads them.
    """

    teacher: TeacherVectors
    rows: NDArray[np.int64]
    neighbours: NDArray[np.int64] | None = None
    prototypes: Tensor | None = None
    classes: Tensor | None = None

    def vectors(self, photos: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """The teacher's vectors of photos: float32 [n, D]."""
        return self.teacher.rows(self.rows[np.asarray(photos, dtype=np.int64)])

    def neighbours_of(self, photos: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """The teacher's vectors nearest to each photo's: float32 [n, K, D]; None if no loss reads them."""
        if self.neighbours is None:
            return None
        rows = self.neighbours[self.rows[photos]]
        return self.teacher.rows(rows.reshape(-1)).reshape(*rows.shape, self.teacher.dim)


def batch_of(
    anchors: Tensor, photos: Tensor, instances: Tensor, targets: Targets | None, tuples: References | None = None
) -> Batch:
    """Collect what losses read: `anchors`, float [B, D], of `photos` and their `instances`, int64 [B] each."""
    device = anchors.device
    if targets is None:
        return Batch(anchors, None, put(photos, device), put(instances, device), tuples)
    numbers = photos.numpy()
    neighbours = targets.neighbours_of(numbers)
    return Batch(
        anchors,
        put(torch.from_numpy(targets.vectors(numbers)), device),
        put(photos, device),
        put(instances, device),
        tuples,
        None if neighbours is None else put(torch.from_numpy(neighbours), device),
        None if targets.prototypes is None else put(targets.prototypes, device),
        None if targets.classes is None else put(targets.classes[photos], device),
    )


def _require(name: str, field: Tensor | None) -> Tensor:
    assert field is not None, f"a loss reads `{name}`, which this run does not have"
    return field
