"""What a teacher's vectors say of the photos of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.train.batch import Batch, References
from askew_training.vectors.teacher_vectors import TeacherVectors


@dataclass(frozen=True)
class Targets:
    """The teacher's side of some photos, by their index.

    `rows`: int64 [N], their rows among the teacher's vectors. `neighbours`: int64 [all rows, K], the rows nearest to
    each row. `prototypes`: float32 [C, D], and `classes`: int64 [N], each photo's row among them or −1. None where no
    loss reads them.
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
        """The teacher's vectors nearest to each photo's: float32 [n, K, D]."""
        if self.neighbours is None:
            return None
        rows = self.neighbours[self.rows[photos]]
        return self.teacher.rows(rows.reshape(-1)).reshape(*rows.shape, self.teacher.dim)


def batch_of(
    anchors: Tensor, photos: Tensor, instances: Tensor, targets: Targets | None, tuples: References | None = None
) -> Batch:
    """Put together what losses read: `anchors`, float [B, D], of `photos` and their `instances`, int64 [B]."""
    device = anchors.device
    if targets is None:
        return Batch(anchors, None, photos.to(device), instances.to(device), tuples)
    numbers = photos.numpy()
    neighbours = targets.neighbours_of(numbers)
    return Batch(
        anchors,
        torch.from_numpy(targets.vectors(numbers)).to(device),
        photos.to(device),
        instances.to(device),
        tuples,
        None if neighbours is None else torch.from_numpy(neighbours).to(device),
        None if targets.prototypes is None else targets.prototypes.to(device),
        None if targets.classes is None else targets.classes[photos].to(device),
    )
