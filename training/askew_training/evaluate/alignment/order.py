"""How alike two encoders order the same gallery: neighbours in common, and pairs in opposite order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6
"""Scores that agree to this many decimals count as equal, as where a server orders hits."""

Scores = NDArray[np.floating]
Rankings = NDArray[np.int64]


def rankings_of(scores: Scores) -> Rankings:
    """Order the gallery for each query: int64 [n, m] of rows, by score (float [n, m]), equal ones by row.

    A photo with the score −inf is in no ranking; those come last.
    """
    return np.asarray(np.argsort(-np.round(scores, DECIMALS), axis=1, kind="stable"), dtype=np.int64)


def overlap_at(first: Rankings, second: Rankings, k: int) -> NDArray[np.float64]:
    """The share of the first k photos that two rankings have in common, for each query: float64 [n], 0 to 1."""
    return np.array(
        [np.isin(mine[:k], theirs[:k], assume_unique=True).mean() for mine, theirs in zip(first, second, strict=True)],
        dtype=np.float64,
    )


def order_flips(teacher: Scores, student: Scores, rankings: Rankings, among: int) -> NDArray[np.float64]:
    """The share of pairs that the student puts in the opposite order, for each query: float64 [n]; NaN without a pair.

    The pairs are all of two of the teacher's first `among` photos that it scores differently. A pair that the student scores
    alike counts half: 0 is the teacher's own order, 0.5 what chance gives, 1 the order turned around. `teacher`, `student`:
    scores, float [n, m], −inf for photos that are left out; `rankings`: the teacher's, int64 [n, m].
    """
    chosen = rankings[:, :among]
    theirs = np.round(np.take_along_axis(teacher, chosen, axis=1), DECIMALS)
    own = np.round(np.take_along_axis(student, chosen, axis=1), DECIMALS)
    later = np.triu(np.ones((chosen.shape[1],) * 2, dtype=np.bool_), k=1)
    shares: list[float] = []
    for t, s in zip(theirs, own, strict=True):
        counted = later & (t[:, None] > t) & np.isfinite(t)
        flipped = (s[:, None] < s) + 0.5 * (s[:, None] == s)
        shares.append(float(flipped[counted].mean()) if counted.any() else float("nan"))
    return np.array(shares, dtype=np.float64)


def usable_depths(depths: Sequence[int], gallery: int) -> list[int]:
    """The depths at which an overlap says something: at the whole gallery it is 1."""
    return [k for k in depths if k < gallery]
