"""The regression loss: pull a student's vector of a photo towards its teacher's vector of the same photo."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from askew_training.losses.base import Loss, LossTable, Reduction, TeacherVectorsOf, reduce_anchors


class Regression(Loss):
    """½ ‖f(a) − g(a)‖² = 1 − f(a) · g(a), 0 to 2.

    Budnik & Avrithis (CVPR 2021), section 3.2, "Reg": it needs neither labels nor pairs, and is the best of their
    losses when queries are described by the student and the gallery by the teacher.
    """

    reads = ("anchors", "teachers")

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns [B], or a scalar.
        """
        return reduce_anchors(1 - (students * teachers).sum(1), self.reduction)


class RegressionTable(LossTable):
    """`Regression`."""

    name: Literal["regression"]

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> Regression:
        return Regression()
