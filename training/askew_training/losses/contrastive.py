"""The contrastive loss, asymmetric or symmetric as its references are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class Contrastive(nn.Module):
    """Pull an anchor towards its positives, and negatives that are too near away from it.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Contr": with references from the teacher it is their asymmetric
    loss, with references from the network that is trained the symmetric one (Radenović et al., PAMI 2018, eq. 5).

    `form="euclidean"`, as the published code computes it: for each positive ½ D², for each negative
    ½ [margin − D]₊², where D = ‖a − r + epsilon‖ is 0 to 2. `form="similarity"`, as the paper writes it: for each
    positive −s, for each negative [s − margin]₊, where s = a · r is −1 to 1. A Euclidean margin of 0.7 begins to push
    where a similarity of 0.755 does.

    `reduction`: "none" gives one value for each anchor, "sum" and "mean" (over anchors) one for all.
    """

    reads = ("anchors", "references", "positives", "negatives")

    def __init__(
        self,
        margin: float | None = None,
        form: Literal["euclidean", "similarity"] = "euclidean",
        epsilon: float = 1e-6,
        reduction: Literal["none", "sum", "mean"] = "mean",
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
        return reduced(per_anchor, self.reduction)


def reduced(per_anchor: Tensor, reduction: Literal["none", "sum", "mean"]) -> Tensor:
    """Reduce one value for each anchor, float [B], as asked."""
    if reduction == "none":
        return per_anchor
    return per_anchor.sum() if reduction == "sum" else per_anchor.mean()


def _squared_distances(anchors: Tensor, references: Tensor, epsilon: float) -> Tensor:
    """Σ (a − r + epsilon)² for all pairs, by the inner products: [B, M] needs no [B, M, D]."""
    dim = anchors.shape[1]
    shift = 2 * epsilon * (anchors.sum(1)[:, None] - references.sum(1)[None]) + dim * epsilon**2
    lengths = (anchors * anchors).sum(1)[:, None] + (references * references).sum(1)[None]
    return (lengths - 2 * anchors @ references.T + shift).clamp(min=0)


def _root(squared: Tensor) -> Tensor:
    """The square root, with gradient 0 where it would be infinite: at identical vectors."""
    is_positive = squared > 0
    return torch.where(is_positive, torch.where(is_positive, squared, torch.ones_like(squared)).sqrt(), 0 * squared)
