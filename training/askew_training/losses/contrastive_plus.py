"""The contrastive loss with the teacher's own vector of the anchor as a further positive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from askew_training.losses.contrastive import Contrastive, reduced


class ContrastivePlus(nn.Module):
    """Contrastive plus `weight` times its term of a positive pair for the anchor and the teacher's vector of it.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Contr⁺". `form`, `margin`, `epsilon` and `reduction` are those of
    `Contrastive`: the further term is ½ ‖a − g(a) + epsilon‖² or −a · g(a). The published code knows no weight but 1.
    """

    reads = ("anchors", "references", "positives", "negatives", "teachers")

    def __init__(
        self,
        margin: float | None = None,
        form: Literal["euclidean", "similarity"] = "euclidean",
        epsilon: float = 1e-6,
        weight: float = 1.0,
        reduction: Literal["none", "sum", "mean"] = "mean",
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
        teachers are row by row the same photos. `positives`, `negatives`: bool [B, M]; a pair may be neither.
        Returns [B], or a scalar.
        """
        others = self.contrastive(anchors, references, positives, negatives)
        itself = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
        own = self.contrastive(anchors, teachers, itself, torch.zeros_like(itself))
        return reduced(others + self.weight * own, self.reduction)
