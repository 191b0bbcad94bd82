"""How a student lands in its teacher's space, from their vectors of the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.evaluate.alignment.order import order_flips, overlap_at, rankings_of, usable_depths

DEPTHS = (1, 10, 100)
FLIPS_AMONG = 100
SCORES_AT_ONCE = 1 << 22
"""Scores in memory at a time: 16 MB for each encoder."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Diagnosis:
    """Means over the photos that both encoders describe.

    `mean_cosine`, `low_cosine`: the mean, and the 5th percentile, of the cosine of both vectors of a photo. `overlap`: by k,
    as in `overlap_at`. `order_flips`: as there, among the teacher's first `flips_among`; None if no pair can be compared.
    """

    photos: int
    mean_cosine: float
    low_cosine: float
    overlap: dict[int, float]
    order_flips: float | None
    flips_among: int


def diagnose(
    student: Vectors,
    teacher: Vectors,
    gallery: Vectors,
    left_out: NDArray[np.bool_] | None = None,
    *,
    depths: Sequence[int] = DEPTHS,
    among: int = FLIPS_AMONG,
    scores_at_once: int = SCORES_AT_ONCE,
) -> Diagnosis:
    """Compare two encoders on the same photos, and on the order in which these find a gallery of the teacher's.

    `student`, `teacher`: float32 [n, D] unit vectors of the same photos, `gallery`: float32 [m, D] of the teacher; a row of
    NaN is a photo without a vector, which does not count. `left_out`: bool [n, m], gallery photos that a photo does not
    search, such as itself. Raises DataError for shapes that do not fit, or without a photo that both describe.
    """
    if student.shape != teacher.shape or student.shape[1:] != gallery.shape[1:]:
        raise DataError(
            f"Expected vectors of the same photos, and a gallery of the same dimension, got {list(student.shape)}, "
            f"{list(teacher.shape)} and {list(gallery.shape)}."
        )
    both = np.flatnonzero(np.isfinite(student).all(axis=1) & np.isfinite(teacher).all(axis=1))
    found = np.flatnonzero(np.isfinite(gallery).all(axis=1))
    if not len(both) or not len(found):
        raise DataError("Expected photos and a gallery that the encoders can describe, got none.")
    student, teacher, gallery = student[both], teacher[both], gallery[found]
    cosines = np.einsum("nd,nd->n", student, teacher, dtype=np.float64)
    used = usable_depths(depths, len(found))
    overlaps: dict[int, list[float]] = {k: [] for k in used}
    flips: list[float] = []
    at_once = max(1, scores_at_once // len(found))
    for start in range(0, len(both), at_once):
        rows = slice(start, start + at_once)
        theirs, own = teacher[rows] @ gallery.T, student[rows] @ gallery.T
        if left_out is not None:
            outside = left_out[both[rows]][:, found]
            theirs[outside] = own[outside] = -np.inf
        rankings = rankings_of(theirs)
        for k in used:
            overlaps[k].extend(overlap_at(rankings, rankings_of(own), k))
        flips.extend(order_flips(theirs, own, rankings, among))
    counted = np.array(flips)[np.isfinite(flips)]
    return Diagnosis(
        photos=len(both),
        mean_cosine=float(cosines.mean()),
        low_cosine=float(np.percentile(cosines, 5)),
        overlap={k: float(np.mean(shares)) for k, shares in overlaps.items()},
        order_flips=float(counted.mean()) if len(counted) else None,
        flips_among=min(among, len(found)),
    )
