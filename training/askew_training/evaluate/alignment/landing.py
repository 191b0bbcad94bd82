"""Whether a student's vectors land in its teacher's space: what a server measures when it admits a student to a gallery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOORS = {"mean_cosine": 0.25, "self_recall": 0.5, "recall_at_10": 0.2}
"""Below any of these, a server refuses a student."""

NEAR = 0.1
"""Closer to a floor than this is near."""

SAME = 1 - 1e-4
"""Photos whose vectors have at least this score are the same for the teacher."""

QUERIES_AT_ONCE = 256
DEPTH = 10


@dataclass(frozen=True)
class Landing:
    """Means over photos. `mean_cosine`: between a student's vector and its teacher's of the same photo. `self_recall`: the share
    of photos that find themselves first among the teacher's vectors. `recall_at_10`: the share of the ten other photos
    nearest to the teacher's vector that are among the ten nearest to the student's; None for fewer photos than that."""

    mean_cosine: float
    self_recall: float
    recall_at_10: float | None

    def figures(self) -> dict[str, float]:
        """Those that were measured, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def warnings(self) -> list[str]:
        """A sentence for each figure that is near its floor, or below."""
        return [
            f"{name} is {value:.3f} on held-out photos, and admission to a gallery needs {FLOORS[name]:g}"
            for name, value in self.figures().items()
            if value < FLOORS[name] + NEAR
        ]


def landing_of(student: NDArray[np.float32], teacher: NDArray[np.float32]) -> Landing:
    """Compare vectors of the same photos, float32 [n, D] each, unit length, n ≥ 1.

    Photos with the same teacher vector count neither for nor against the student, and equal scores count against it, as in
    the server's gate.
    """
    own = np.einsum("nd,nd->n", student, teacher, dtype=np.float64)
    finds_itself, shares = [], []
    for start in range(0, len(student), QUERIES_AT_ONCE):
        chosen = slice(start, start + QUERIES_AT_ONCE)
        of_teacher, of_student = teacher[chosen] @ teacher.T, student[chosen] @ teacher.T
        same = of_teacher > SAME
        same[np.arange(len(same)), np.arange(start, start + len(same))] = True
        of_teacher[same] = of_student[same] = -np.inf
        finds_itself += (own[chosen] > of_student.max(1)).tolist()
        has_ten = (~same).sum(1) > DEPTH
        if has_ten.any():
            wanted, found = (np.argsort(-each[has_ten], axis=1)[:, :DEPTH] for each in (of_teacher, of_student))
            shares += [np.isin(mine, theirs).mean() for mine, theirs in zip(wanted, found, strict=True)]
    return Landing(float(own.mean()), float(np.mean(finds_itself)), float(np.mean(shares)) if shares else None)
