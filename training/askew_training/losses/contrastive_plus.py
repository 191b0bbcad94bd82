"""The contrastive loss with the teacher's own vector of the anchor as a further positive."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from askew_training.losses.base import Loss, MarginTable, Reduction, Side, TeacherVectorsOf, reduce_anchors
from askew_training.losses.contrastive import Contrastive, Form


class ContrastivePlus(Loss):
    """Contrastive plus `weight` times its term for the positive pair of the anchor and the teacher's vector of it.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Contr⁺". `form`, `margin`, `epsilon` and `reduction` are those of
    `Contrastive`: the further term is ½ ‖a − g(a) + epsilon‖² or −a · g(a). The published code has no weight (1).
    """

    reads = ("anchors", "references", "positives", "negatives", "teachers")

    def __init__(
        self,
        margin: float | None = None,
        form: Form = "euclidean",
        epsilon: float = 1e-6,
        weight: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.contrastive = Contrastive(margin, form, epsilon, reduction="none")
        self.weight = weight
        self.reduction = reduction

    def forward(
        self, anchors: Tensor, references: Tensor, positives: Tensor, negatives: Tensor, teachers: Tensor
    ) -> Tensor:
        """Compute the loss.

        `anchors`: float [B, D], `references`: float [M, D] and `teachers`: float [B, D], unit length; anchors and
        teachers are of the same photos, row by row. `positives`, `negatives`: bool [B, M]; a pair may be neither.
        Returns [B], or a scalar.
        """
        others = self.contrastive(anchors, references, positives, negatives)
        itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
        own = self.contrastive(anchors, teachers, itself, torch.zeros_like(itself))
        return reduce_anchors(others + self.weight * own, self.reduction)

    def active_above(self, to_positives: NDArray[np.float32]) -> float:
        """As for `Contrastive`."""
        return self.contrastive.active_above(to_positives)


class ContrastivePlusTable(MarginTable):
    """`ContrastivePlus`, which is always asymmetric; `own_weight`: of the teacher's vector of the anchor itself."""

    name: Literal["contrastive-plus"]
    form: Form = "euclidean"
    own_weight: float = Field(default=1.0, ge=0)

    @property
    def side(self) -> Side:
        return "teacher"

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> ContrastivePlus:
        return ContrastivePlus(self.margin, self.form, weight=self.own_weight)
