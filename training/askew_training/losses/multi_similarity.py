"""The multi-similarity loss, asymmetric or symmetric, depending on its references."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew_training.losses.base import Loss, PairLossTable, Reduction, TeacherVectorsOf, reduce_anchors


class MultiSimilarity(Loss):
    """Weight each pair of an anchor by how hard it is compared with the anchor's other pairs.

    Budnik & Avrithis (CVPR 2021), section 3.2, "MS", after Wang et al. (CVPR 2019, eq. 15), for one anchor a:
    1/alpha · log(1 + Σ_p exp(−alpha (s(a,p) − threshold))) + 1/beta · log(1 + Σ_n exp(beta (s(a,n) − threshold))),
    where s is the inner product, p its positives and n its negatives. No pairs are mined.

    `reduction`: "none" gives one value for each anchor, "sum" and "mean" (over anchors) one for all.
    """

    reads = ("anchors", "references", "positives", "negatives")

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 40.0,
        threshold: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.threshold = threshold
        self.reduction = reduction

    def forward(self, anchors: Tensor, references: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Compute the loss.

        `anchors`: float [B, D] and `references`: float [M, D], unit length. `positives`, `negatives`: bool [B, M];
        a pair may be neither. Returns [B], or a scalar. An anchor without pairs has value and gradient 0.
        """
        above = anchors @ references.T - self.threshold
        pull = _log_one_plus_sum_exp(-self.alpha * above, positives) / self.alpha
        push = _log_one_plus_sum_exp(self.beta * above, negatives) / self.beta
        return reduce_anchors(pull + push, self.reduction)


class MultiSimilarityTable(PairLossTable):
    """`MultiSimilarity`."""

    name: Literal["multi-similarity"]
    alpha: float = Field(default=2.0, gt=0)
    beta: float = Field(default=40.0, gt=0)
    threshold: float = 0.5

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> MultiSimilarity:
        return MultiSimilarity(self.alpha, self.beta, self.threshold)


def _log_one_plus_sum_exp(values: Tensor, chosen: Tensor) -> Tensor:
    """log(1 + Σ exp(value)) over the chosen values of each row, float [B]; 0 if none is chosen."""
    exponents = torch.where(chosen, values, values.new_full((), -torch.inf))
    # The 1 is exp(0) of a further column, so no row lacks a finite exponent, whose gradient would be NaN.
    return torch.cat([values.new_zeros(len(values), 1), exponents], 1).logsumexp(1)
