"""DarkRank: rank the photos of a batch in the student's space as the teacher does."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew_training.losses.base import Loss, LossTable, TeacherVectorsOf

Variant = Literal["hard", "soft"]


class DarkRank(Loss):
    """Match the order of each photo's nearest neighbours in the batch to the teacher's order of them.

    Budnik & Avrithis (CVPR 2021), section 3.2, "DR", after Chen et al. (DarkRank, AAAI 2018). A photo q scores a
    neighbour x by S(x) = −alpha ‖q − x‖^beta in each space, and an order π of neighbours has the Plackett-Luce
    probability P(π) = ∏_i exp S(x_π(i)) / Σ_{k ≥ i} exp S(x_π(k)). The neighbours are the `length` photos that are
    nearest to q for the teacher.

    `variant="hard"`: −log P_student(the teacher's order), the one that Budnik & Avrithis compare.
    `variant="soft"`: KL(P_teacher ‖ P_student) over all `length`! orders, so `length` should be small. The two
    distributions, and matching them by their divergence, are those of Chen et al. Two choices are ours: the teacher's
    distribution is the target, so that the divergence has the gradient of the cross entropy and is 0 for a student
    with its teacher's scores; and scores, neighbours and the mean over photos are those of the hard variant.

    The loss does not change when the student's space is rotated, so a student trained with it alone does not land in
    the teacher's space.
    """

    reads = ("anchors", "teachers")

    def __init__(self, alpha: float = 3.0, beta: float = 3.0, length: int = 4, variant: Variant = "hard") -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.length = length
        self.variant = variant
        self.smallest_batch = length + 1

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` and `teachers`, float [B, D], unit length, of the same photos row by row.

        Returns a scalar, the mean over photos; D may differ. Raises ValueError for fewer photos than
        `smallest_batch`.
        """
        self.check_batch_size(len(students))
        teacher_scores = self._scores(teachers)
        itself = torch.eye(len(teachers), dtype=torch.bool, device=teachers.device)
        order = teacher_scores.masked_fill(itself, -torch.inf).sort(dim=1, descending=True, stable=True).indices
        nearest = order[:, : self.length]
        ranked = self._scores(students).gather(1, nearest)
        if self.variant == "hard":
            return -_log_likelihood(ranked).mean()
        orders = torch.tensor(list(permutations(range(self.length))), device=students.device)
        student_log = _log_likelihood(_in_each_order(ranked, orders))
        teacher_log = _log_likelihood(_in_each_order(teacher_scores.gather(1, nearest), orders))
        return (teacher_log.exp() * (teacher_log - student_log)).sum(1).mean()

    def _scores(self, vectors: Tensor) -> Tensor:
        """S for all pairs of the batch, float [B, B]; the gradient is 0 at identical vectors, for every `beta`."""
        distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        scores: Tensor = -self.alpha * distances.clamp(min=1e-6) ** self.beta
        return scores


class DarkRankTable(LossTable):
    """`DarkRank`."""

    name: Literal["dark-rank"]
    alpha: float = Field(default=3.0, gt=0)
    beta: float = Field(default=3.0, gt=0)
    length: int = Field(default=4, ge=2, le=8)
    variant: Variant = "hard"

    def build(self, teacher_vectors: TeacherVectorsOf, seed: int) -> DarkRank:
        return DarkRank(self.alpha, self.beta, self.length, self.variant)


def _in_each_order(scores: Tensor, orders: Tensor) -> Tensor:
    """Each row of `scores`, float [B, L], in each of `orders`, int64 [P, L]: float [B, P, L]."""
    # A gather, because the gradient of advanced indexing is summed in no fixed order.
    return scores.gather(1, orders.flatten().expand(len(scores), -1)).reshape(-1, *orders.shape)


def _log_likelihood(ordered: Tensor) -> Tensor:
    """The log of the Plackett-Luce probability of scores in the order of the last axis, which is reduced."""
    rest = [ordered[..., place:].logsumexp(-1) for place in range(ordered.shape[-1])]
    return ordered.sum(-1) - torch.stack(rest, -1).sum(-1)
