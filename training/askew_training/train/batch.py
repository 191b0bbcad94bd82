"""What one step gives to its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.losses.base import Anchors, Side
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

    `anchors`: float [B, D], from the trained network. `teachers`: float [B, D], the teacher's vectors of the same photos, or
    of the same views of them, if it describes views. `whole`: float [B, D], the teacher's vectors of the whole photos in that
    case, as a gallery has them; None: they are `teachers`. `photos`, `instances`: int64 [B]; two views of one photo have the same number, and so have two photos of one
    instance. A photo without a label is an instance by itself.

    `tuples`: the references of mined tuples; if None, anchors are compared with the batch itself. `neighbours`: float
    [B, K, D], the teacher's vectors nearest to each photo's. `prototypes`: float [C, D], and `classes`: int64 [B], the
    row of each anchor's prototype, −1 without. `labelled`: bool [B], whether it is known what a photo shows; None: of all.
    `teachers` is None without a teacher, and the others are None if no loss
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
    labelled: Tensor | None = None
    whole: Tensor | None = None

    def rows_on(self, anchors: Anchors) -> Tensor | None:
        """The rows of the labelled or unlabelled photos, int64 [b]; None for all rows."""
        if anchors == "all":
            return None
        labelled = torch.ones(len(self.photos), dtype=torch.bool) if self.labelled is None else self.labelled
        return (labelled if anchors == "labelled" else ~labelled).nonzero()[:, 0]

    def inputs(self, reads: tuple[str, ...], side: Side | None, rows: Tensor | None = None) -> list[Tensor]:
        """The fields that a loss `reads`, in that order. `side`: whose vectors its pairs are made with.

        `rows`: int64 [b], of the anchors that the loss is for; None for all. They are still compared with all references.
        """
        fields = {
            "anchors": self.anchors,
            "teachers": self.teachers,
            "neighbours": self.neighbours,
            "classes": self.classes,
        }
        shared = {"prototypes": self.prototypes}
        if side is not None:
            pairs = self.tuples or self._pairs_in_batch(side)
            fields |= {"positives": pairs.positives, "negatives": pairs.negatives}
            shared |= {"references": pairs.vectors}
        if rows is not None:
            fields = {name: None if each is None else each[rows] for name, each in fields.items()}
        fields |= shared
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
            vectors = _require("teachers", self.teachers if self.whole is None else self.whole)
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
    anchors: Tensor,
    photos: Tensor,
    instances: Tensor,
    targets: Targets | None,
    tuples: References | None = None,
    labelled: Tensor | None = None,
    views: Tensor | None = None,
) -> Batch:
    """Collect what losses read: `anchors`, float [B, D], of `photos` and their `instances`, int64 [B] each.

    `labelled`: bool [B], None for all. `views`: float [B, D], the teacher's vectors of the views that the anchors are of;
    None if it describes whole photos.
    """
    device = anchors.device
    known = None if labelled is None else put(labelled, device)
    if targets is None:
        return Batch(anchors, None, put(photos, device), put(instances, device), tuples, labelled=known)
    numbers = photos.numpy()
    neighbours = targets.neighbours_of(numbers)
    whole = put(torch.from_numpy(targets.vectors(numbers)), device)
    return Batch(
        anchors,
        whole if views is None else put(views, device),
        put(photos, device),
        put(instances, device),
        tuples,
        None if neighbours is None else put(torch.from_numpy(neighbours), device),
        None if targets.prototypes is None else put(targets.prototypes, device),
        None if targets.classes is None else put(targets.classes[photos], device),
        known,
        None if views is None else whole,
    )


def _require(name: str, field: Tensor | None) -> Tensor:
    assert field is not None, f"a loss reads `{name}`, which this run does not have"
    return field
