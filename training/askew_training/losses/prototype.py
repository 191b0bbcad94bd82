"""The prototype loss: pull a photo towards the mean teacher vector of its class, and away from the other classes'."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf


class Prototype(Loss):
    """mean over labelled photos of −log softmax_c(f · μ / τ), with c the photo's class and μ the prototypes.

    A cross-entropy with class centroids of teacher vectors as a fixed classifier, after AsymVPR (arXiv 2512.13055).
    Departures: the prototypes are never updated (`prototypes_of`), and nothing is augmented. τ is `temperature`.

    The minimum is above 0, and not where a student equals its teacher: the loss pulls to the class, not to the photo.
    """

    reads = ("anchors", "prototypes", "classes")

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, anchors: Tensor, prototypes: Tensor, classes: Tensor) -> Tensor:
        """Compute the loss.

        `anchors`: float [B, D] and `prototypes`: float [C, D], unit length. `classes`: int64 [B], 0 to C − 1, or −1
        for a photo without a label, which is ignored. Returns a scalar, 0 or more; without any label, value and
        gradient are 0. Raises ValueError for an empty batch.
        """
        self.check_batch_size(len(anchors))
        logits = anchors @ prototypes.T / self.temperature
        total = functional.cross_entropy(logits, classes, ignore_index=-1, reduction="sum")
        return total / (classes != -1).sum().clamp(min=1)


class PrototypeTable(LossTable):
    """`Prototype`, with the mean teacher vector of each instance."""

    name: Literal["prototype"]
    temperature: float = Field(default=0.1, gt=0)

    @property
    def needs_labels(self) -> bool:
        return True

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> Prototype:
        return Prototype(self.temperature)


def prototypes_of(vectors: Tensor, classes: Tensor) -> Tensor:
    """Compute the mean vector of each class, scaled to unit length: float [C, D].

    `vectors`: float [N, D]. `classes`: int64 [N], 0 to C − 1, or −1 for a vector without a class. Raises ValueError if
    no vector has a class, or a class has no vector.
    """
    labelled = classes != -1
    counts = torch.bincount(classes[labelled])
    if len(counts) == 0:
        raise ValueError("Prototypes need labelled photos, and there are none. Give photos with instances.")
    missing = (counts == 0).nonzero()
    if len(missing):
        raise ValueError(
            f"Expected classes 0 to {len(counts) - 1} without a gap, but class {int(missing[0])} has no photo."
        )
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add_(0, classes[labelled], vectors[labelled])
    return functional.normalize(sums, dim=1)
