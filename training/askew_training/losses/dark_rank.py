"""DarkRank: a student that ranks the photos of a batch as its teacher does."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import torch
from torch import Tensor, nn

from askew_training.losses.batch_size import refuse_small_batch


class DarkRank(nn.Module):
    """Match the order of each photo's nearest batch mates to the order that the teacher has them in.

    Budnik & Avrithis (CVPR 2021), section 3.2, "DR", after Chen et al. (DarkRank, AAAI 2018). A photo q scores a mate
    x by S(x) = −alpha ‖q − x‖^beta in each space, and an order π of mates has the Plackett-Luce probability
    P(π) = ∏_i exp S(x_π(i)) / Σ_{k ≥ i} exp S(x_π(k)). Ranked are the `length` mates nearest to q for the teacher.

    `variant="hard"`: −log P_student(the teacher's order), the one that Budnik & Avrithis compare.
    `variant="soft"`: KL(P_teacher ‖ P_student) over all `length`! orders, so `length` should stay small. The two
    distributions, and to match them by their divergence, are Chen et al.'s. Ours are the choices of the teacher's
    distribution as the target, which gives the divergence the gradient of the cross entropy and the value 0 for a
    student that scores like its teacher, and of the same scores, mates and mean over photos as in the hard variant.

    The student is free to turn its space, so alone this loss does not let it land in the teacher's.
    """

    reads = ("anchors", "teachers")

    def __init__(
        self,
        alpha: float = 3.0,
        beta: float = 3.0,
        length: int = 4,
        variant: Literal["hard", "soft"] = "hard",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.length = length
        self.variant = variant
        self.smallest_batch = length + 1

    def forward(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Compute the loss of `students` on `teachers`, float [B, D], unit length, row by row the same photos.

        Returns a scalar, the mean over photos; D may differ. Raises ValueError for fewer photos than
        `smallest_batch`.
        """
        refuse_small_batch("DarkRank", len(students), self.smallest_batch)
        teacher_scores = self._scores(teachers)
        itself = torch.eye(len(teachers), dtype=torch.bool, device=teachers.device)
        order = teacher_scores.masked_fill(itself, -torch.inf).sort(dim=1, descending=True, stable=True).indices
        nearest = order[:, : self.length]
        ranked = self._scores(students).gather(1, nearest)
        if self.variant == "hard":
            return -_log_likelihood(ranked).mean()
        orders = torch.tensor(list(permutations(range(self.length))), device=students.device)
        student_log = _log_likelihood(_arranged(ranked, orders))
        teacher_log = _log_likelihood(_arranged(teacher_scores.gather(1, nearest), orders))
        return (teacher_log.exp() * (teacher_log - student_log)).sum(1).mean()

    def _scores(self, vectors: Tensor) -> Tensor:
        """S for all pairs of the batch, float [B, B]; the gradient is 0 at identical vectors, for every `beta`."""
        distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        scores: Tensor = -self.alpha * distances.clamp(min=1e-6) ** self.beta
        return scores


def _arranged(scores: Tensor, orders: Tensor) -> Tensor:
    """Each row of `scores`, float [B, L], in each of `orders`, int64 [P, L]: float [B, P, L]."""
    # A gather, because the gradient of advanced indexing is summed in no fixed order.
    return scores.gather(1, orders.flatten().expand(len(scores), -1)).reshape(-1, *orders.shape)


def _log_likelihood(ordered: Tensor) -> Tensor:
    """Log of the Plackett-Luce probability of scores in the order given along the last axis, which is reduced."""
    rest = [ordered[..., place:].logsumexp(-1) for place in range(ordered.shape[-1])]
    return ordered.sum(-1) - torch.stack(rest, -1).sum(-1)
