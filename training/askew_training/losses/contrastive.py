"""The contrastive loss, asymmetric or symmetric, depending on its references."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.losses.base import Loss, MarginTable, PairLossTable, Reduction, TeacherVectorsOf, reduce_anchors

Form = Literal["euclidean", "similarity"]


class Contrastive(Loss):
    """Pull an anchor towards its positives, and push negatives away that are too near to it.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Contr": with references from the teacher it is their asymmetric
    loss, with references from the trained network the symmetric one (Radenović et al., PAMI 2018, eq. 5).

    `form="euclidean"`, as the published code computes it: ½ D² for each positive and ½ [margin − D]₊² for each
    negative, where D = ‖a − r + epsilon‖ is 0 to 2. `form="similarity"`, as the paper writes it: −s for each positive
    and [s − margin]₊ for each negative, where s = a · r is −1 to 1. A Euclidean margin of 0.7 pushes negatives above
    the same similarity as a margin of 0.755 in the other form.

    `reduction`: "none" gives one value for each anchor, "sum" and "mean" (over anchors) one for all.
    """

    reads = ("anchors", "references", "positives", "negatives")

    def __init__(
        self,
        margin: float | None = None,
        form: Form = "euclidean",
        epsilon: float = 1e-6,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.margin = margin if margin is not None else {"euclidean": 0.7, "similarity": 0.755}[form]
        self.form = form
        self.epsilon = epsilon
        self.reduction = reduction

    def forward(self, anchors: Tensor, references: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Compute the loss.

        `anchors`: float [B, D] and `references`: float [M, D], unit length. `positives`, `negatives`: bool [B, M];
        a pair may be neither. Returns [B], or a scalar. An anchor without pairs has value and gradient 0.
        """
        if self.form == "similarity":
            similarity = anchors @ references.T
            pull, push = -similarity, (similarity - self.margin).clamp(min=0)
        else:
            squared = _squared_distances(anchors, references, self.epsilon)
            pull, push = squared / 2, (self.margin - _root(squared)).clamp(min=0) ** 2 / 2
        zero = pull.new_zeros(())
        per_anchor = (torch.where(positives, pull, zero) + torch.where(negatives, push, zero)).sum(1)
        return reduce_anchors(per_anchor, self.reduction)

    def active_above(self, to_positives: NDArray[np.float32]) -> float:
        """The similarity of the margin: D² = 2 − 2 s for unit vectors."""
        return self.margin if self.form == "similarity" else 1 - self.margin**2 / 2


class ContrastiveTable(PairLossTable, MarginTable):
    """`Contrastive`; the margin is a distance or a similarity, depending on `form`."""

    name: Literal["contrastive"]
    form: Form = "euclidean"

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> Contrastive:
        return Contrastive(self.margin, self.form)


def _squared_distances(anchors: Tensor, references: Tensor, epsilon: float) -> Tensor:
    """Σ (a − r + epsilon)² for all pairs, from inner products: [B, M] without an intermediate [B, M, D]."""
    dim = anchors.shape[1]
    shift = 2 * epsilon * (anchors.sum(1)[:, None] - references.sum(1)[None]) + dim * epsilon**2
    lengths = (anchors * anchors).sum(1)[:, None] + (references * references).sum(1)[None]
    return (lengths - 2 * anchors @ references.T + shift).clamp(min=0)


def _root(squared: Tensor) -> Tensor:
    """The square root, with gradient 0 where it would be infinite: at identical vectors."""
    is_positive = squared > 0
    return torch.where(is_positive, torch.where(is_positive, squared, torch.ones_like(squared)).sqrt(), 0 * squared)
