"""The regression loss: a student's vector of a photo towards its teacher's vector of the same photo."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from askew_training.losses.contrastive import reduced


class Regression(nn.Module):
    """½ ‖f(a) − g(a)‖² = 1 − f(a) · g(a), 0 to 2.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Reg": no labels, no pairs; the best of their losses where queries
    are described by the student and the gallery by the teacher.
    """

    reads = ("anchors", "teachers")

    def __init__(self, reduction: Literal["none", "sum", "mean"] = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        Returns [B], or a scalar.
        """
        return reduced(1 - (students * teachers).sum(1), self.reduction)
