"""D3still: differences of a photo's similarities to its neighbours, a student's towards its teacher's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from askew_training.losses.batch_size import refuse_small_batch


class D3still(nn.Module):
    """α ‖1 − diag X‖₂ / B + mean over photos of (β ‖e ∘ hard‖₂ + γ ‖e ∘ easy‖₂) / (K − 1).

    Xie et al. (CVPR 2024), and their code, SCY-X/D3still. T = G·Gᵀ and X = F·Gᵀ are the similarities of teachers and
    students to the batch's teachers. A photo's neighbours are itself and the K − 1 = `neighbours` − 1 others that its
    teacher puts first. Over all ordered pairs (j, k) of those others, ΔT = T_j − T_k, ΔX = X_j − X_k and
    e = (ΔX − ΔT) / (0.1 + |ΔT|). A pair is hard where the signs of ΔX and ΔT differ, easy where they are the same.

    Departures from the code: a photo is left out of its own neighbours by its place, not as the first of the sorted,
    which a copy of it may be. Pairs with ΔT = 0 are dropped; the code gives them the target 1. Pairs with ΔX = 0 and
    another ΔT are hard; the code drops them. Similarities keep the vectors' dtype; the code computes them in float64.
    """

    reads = ("anchors", "teachers")

    def __init__(self, neighbours: int = 10, alpha: float = 100.0, beta: float = 5.0, gamma: float = 1.0) -> None:
        super().__init__()
        if neighbours < 3:
            raise ValueError(
                f"D3still compares pairs of neighbours: expected at least 3 neighbours, the photo itself being one, "
                f"got {neighbours}."
            )
        self.neighbours = neighbours
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smallest_batch = neighbours

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        Returns a scalar, 0 where they are equal. Among others of one similarity, the first in the batch are taken.
        Raises ValueError for a batch with fewer photos than `neighbours`.
        """
        refuse_small_batch("D3still", len(students), self.smallest_batch)
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


def _differences(similarities: Tensor) -> Tensor:
    """All differences within each row: [B, K] to [B, K, K]."""
    return similarities[:, :, None] - similarities[:, None, :]


def _norms(errors: Tensor) -> Tensor:
    """The Euclidean norm of each [K, K] of [B, K, K]; its gradient is 0 where the norm is."""
    norms: Tensor = torch.linalg.vector_norm(errors, dim=(1, 2))
    return norms
