"""The triplet loss, asymmetric or symmetric as its references are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from askew_training.losses.contrastive import reduced


class Triplet(nn.Module):
    """Keep each positive nearer to the anchor than each negative, by a margin.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Triplet": [s(a,n) − s(a,p) + m]₊, written for squared distances as
    their published code computes it: for each pair of a positive p and a negative n of an anchor
    [‖a − p‖² − ‖a − n‖² + margin]₊ = [2 s(a,n) − 2 s(a,p) + margin]₊, where s is the inner product. So `margin` is
    twice the paper's m.

    `reduction`: "none" gives one value for each anchor, the sum over its pairs; "sum" and "mean" (over anchors) one
    for all. The gradients of references differ from those of the distances along the references themselves only,
    which their unit length undoes.
    """

    reads = ("anchors", "references", "positives", "negatives")

    def __init__(self, margin: float = 0.7, reduction: Literal["none", "sum", "mean"] = "mean") -> None:
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
        return reduced(per_anchor, self.reduction)
