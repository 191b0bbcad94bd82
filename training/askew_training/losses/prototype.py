"""The prototype loss: a photo towards the mean teacher vector of its class, and away from the others'."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from askew_training.losses.batch_size import refuse_small_batch


class Prototype(nn.Module):
    """mean over labelled photos of −log softmax_c(f · μ / τ), c the photo's class and μ the prototypes.

    A cross-entropy with class centroids of teacher vectors as a fixed classifier, after AsymVPR (arXiv 2512.13055).
    Departures: the prototypes stay as they are made (`prototypes_of`), and nothing is augmented. τ is `temperature`.

    The floor is above 0 and not where a student equals its teacher: it pulls to the class, not to the photo.
    """

    reads = ("anchors", "prototypes", "classes")
    smallest_batch = 1

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, anchors: Tensor, prototypes: Tensor, classes: Tensor) -> Tensor:
        """Compute the loss.

        `anchors`: float [B, D] and `prototypes`: float [C, D], unit length. `classes`: int64 [B], 0 to C − 1, or −1
        for a photo without a label, which counts nothing. Returns a scalar, 0 or more; without any label its value and
        gradient are 0. Raises ValueError for an empty batch.
        """
        refuse_small_batch("Prototype", len(anchors), self.smallest_batch)
        logits = anchors @ prototypes.T / self.temperature
        total = functional.cross_entropy(logits, classes, ignore_index=-1, reduction="sum")
        return total / (classes != -1).sum().clamp(min=1)


def prototypes_of(vectors: Tensor, classes: Tensor) -> Tensor:
    """The mean vector of each class, scaled to unit length: float [C, D].

    `vectors`: float [N, D]. `classes`: int64 [N], 0 to C − 1, or −1 for a vector of no class. Raises ValueError where
    no vector has a class, and for a class without a vector.
    """
    labelled = classes != -1
    counts = torch.bincount(classes[labelled])
    if len(counts) == 0:
        raise ValueError("Prototypes need labelled photos, and there is none. Give photos with instances.")
    missing = (counts == 0).nonzero()
    if len(missing):
        raise ValueError(
            f"Expected classes 0 to {len(counts) - 1} without a gap, and class {int(missing[0])} has no photo."
        )
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add_(0, classes[labelled], vectors[labelled])
    return functional.normalize(sums, dim=1)
