"""D3still: match the differences between a photo's similarities to its neighbours to the teacher's."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf


class D3still(Loss):
    """α ‖1 − diag X‖₂ / B + mean over photos of (β ‖e ∘ hard‖₂ + γ ‖e ∘ easy‖₂) / (K − 1).

    Xie et al. (CVPR 2024), and their code, SCY-X/D3still. T = G·Gᵀ and X = F·Gᵀ are the similarities of teachers and
    students to the batch's teachers. A photo's neighbours are itself and the K − 1 = `neighbours` − 1 other photos that
    are most similar to it for its teacher. Over all ordered pairs (j, k) of those others, ΔT = T_j − T_k,
    ΔX = X_j − X_k and e = (ΔX − ΔT) / (0.1 + |ΔT|). A pair is hard if the signs of ΔX and ΔT differ, and easy if they
    are equal.

    Departures from the code: a photo is excluded from its own neighbours by its index, not by taking the first of the
    sorted ones, which may be a copy of it. Pairs with ΔT = 0 are dropped; the code gives them the target 1. Pairs with
    ΔX = 0 and another ΔT are hard; the code drops them. Similarities keep the vectors' dtype; the code uses float64.
    """

    reads = ("anchors", "teachers")

    def __init__(self, neighbours: int = 10, alpha: float = 100.0, beta: float = 5.0, gamma: float = 1.0) -> None:
        super().__init__()
        if neighbours < 3:
            raise ValueError(
                "D3still compares pairs of neighbours: expected at least 3 neighbours, including the photo itself, "
                f"got {neighbours}."
            )
        self.neighbours = neighbours
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smallest_batch = neighbours

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns a scalar, 0 where they are equal. Among equally similar photos, the first in the batch are taken.
        Raises ValueError for a batch with fewer photos than `neighbours`.
        """
        self.check_batch_size(len(students))
        cross = students @ teachers.T
        absolute: Tensor = torch.linalg.vector_norm(1 - cross.diagonal()) / len(students)
        others = self.neighbours - 1
        teacher_similarity = (teachers @ teachers.T).fill_diagonal_(-torch.inf)
        ranked, order = teacher_similarity.sort(dim=1, descending=True, stable=True)
        teacher_difference = _differences(ranked[:, :others])
        student_difference = _differences(cross.gather(1, order[:, :others]))
        error = (student_difference - teacher_difference) / (0.1 + teacher_difference.abs())
        is_ordered = teacher_difference != 0
        is_easy = is_ordered & (student_difference.sign() == teacher_difference.sign())
        hard = _norms(error * (is_ordered & ~is_easy)).mean() / others
        easy = _norms(error * is_easy).mean() / others
        return self.alpha * absolute + self.beta * hard + self.gamma * easy


class D3stillTable(LossTable):
    """`D3still`."""

    name: Literal["d3still"]
    neighbours: int = Field(default=10, ge=3)
    alpha: float = Field(default=100.0, ge=0)
    beta: float = Field(default=5.0, ge=0)
    gamma: float = Field(default=1.0, ge=0)

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> D3still:
        return D3still(self.neighbours, self.alpha, self.beta, self.gamma)


def _differences(similarities: Tensor) -> Tensor:
    """All differences within each row: [B, K] to [B, K, K]."""
    return similarities[:, :, None] - similarities[:, None, :]


def _norms(errors: Tensor) -> Tensor:
    """The Euclidean norm of each [K, K] of [B, K, K]; its gradient is 0 where the norm is 0."""
    norms: Tensor = torch.linalg.vector_norm(errors, dim=(1, 2))
    return norms
