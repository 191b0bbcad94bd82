"""Second-order regression: match a student's similarities within a batch to its teacher's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf


class SecondOrderRegression(Loss):
    """mean over photos of (1 − x_ii)² + λ1 · MSE(F·Gᵀ, G·Gᵀ) + λ2 · MSE(F·Fᵀ, G·Gᵀ), the MSE off the diagonal.

    Suma & Tolias, "Large-to-small Image Resolution Asymmetry in Deep Metric Learning" (WACV 2023), and their code,
    pavelsuma/raml. x_ii = f_i · g_i; λ1 is `cross_weight`, between students and teachers, λ2 `student_weight`, among
    students. The defaults are the rounded weights for Stanford Online Products.

    Departures from the code: it relates augmentations of one photo to one another and sums over the photos of a batch,
    while here the photos of a batch are related to one another; the 1e-6 that it adds within each square is left out.
    """

    reads = ("anchors", "teachers")
    smallest_batch = 2

    def __init__(self, cross_weight: float = 0.75, student_weight: float = 0.68) -> None:
        super().__init__()
        self.cross_weight = cross_weight
        self.student_weight = student_weight

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns a scalar, 0 where they are equal. Raises ValueError for a batch with fewer than 2 photos.
        """
        self.check_batch_size(len(students))
        teacher_similarity = teachers @ teachers.T
        absolute = (1 - (students * teachers).sum(1)).square().mean()
        cross = _off_diagonal_error(students @ teachers.T, teacher_similarity)
        among_students = _off_diagonal_error(students @ students.T, teacher_similarity)
        return absolute + self.cross_weight * cross + self.student_weight * among_students


class SecondOrderRegressionTable(LossTable):
    """`SecondOrderRegression`."""

    name: Literal["second-order-regression"]
    cross_weight: float = Field(default=0.75, ge=0)
    student_weight: float = Field(default=0.68, ge=0)

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> SecondOrderRegression:
        return SecondOrderRegression(self.cross_weight, self.student_weight)


def _off_diagonal_error(similarity: Tensor, target: Tensor) -> Tensor:
    """The mean squared error of [B, B] off its diagonal, a scalar."""
    count = len(similarity)
    return (similarity - target).fill_diagonal_(0).square().sum() / (count * (count - 1))
