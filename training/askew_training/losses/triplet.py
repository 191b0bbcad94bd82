"""The triplet loss, asymmetric or symmetric, depending on its references."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.losses.base import Loss, MarginTable, PairLossTable, Reduction, TeacherVectorsOf, reduce_anchors


class Triplet(Loss):
    """Keep each positive nearer to the anchor than each negative, by a margin.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Triplet": [s(a,n) − s(a,p) + m]₊, computed from squared distances as
    in their published code: for each pair of a positive p and a negative n of an anchor
    [‖a − p‖² − ‖a − n‖² + margin]₊ = [2 s(a,n) − 2 s(a,p) + margin]₊, where s is the inner product. So `margin` is
    twice the paper's m.

    `reduction`: "none" gives one value for each anchor, the sum over its pairs; "sum" and "mean" (over anchors) one
    for all. Gradients of references differ from those of the distances only along the references themselves, which
    normalisation to unit length removes.
    """

    reads = ("anchors", "references", "positives", "negatives")

    def __init__(self, margin: float = 0.7, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.margin = margin
        self.reduction = reduction

    def forward(self, anchors: Tensor, references: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Compute the loss, in memory of B × M × M values.

        `anchors`: float [B, D] and `references`: float [M, D], unit length. `positives`, `negatives`: bool [B, M];
        a reference may be neither. Returns [B], or a scalar. An anchor without a positive, or without a negative, has
        value and gradient 0.
        """
        similarity = anchors @ references.T
        excess = 2 * (similarity[:, None, :] - similarity[:, :, None]) + self.margin
        is_triplet = positives[:, :, None] & negatives[:, None, :]
        per_anchor = torch.where(is_triplet, excess.clamp(min=0), excess.new_zeros(())).sum((1, 2))
        return reduce_anchors(per_anchor, self.reduction)

    def active_above(self, to_positives: NDArray[np.float32]) -> NDArray[np.float32]:
        """Half the margin below the similarity of the query to its positive."""
        return to_positives[:, None] - self.margin / 2


class TripletTable(PairLossTable, MarginTable):
    """`Triplet`; the margin is of squared distances, 0.7 by default."""

    name: Literal["triplet"]

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> Triplet:
        return Triplet() if self.margin is None else Triplet(self.margin)
