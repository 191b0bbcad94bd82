"""The scores of matches and of non-matches: what a threshold has to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 100
"""Of equal width over [-1, 1]."""
SCORES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Distribution:
    """`matches`, `non_matches`: int64 [BINS], pairs of a query and a gallery photo by their score; the last bin holds 1, too.

    `mean_match`, `mean_non_match`: None without any. `separation`: how probably a match scores higher than a non-match of the
    same query (equal scores count half), averaged over the queries that have both; None if none has.
    """

    matches: NDArray[np.int64]
    non_matches: NDArray[np.int64]
    mean_match: float | None
    mean_non_match: float | None
    separation: float | None


def distribution_of(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    relevance: NDArray[np.int8],
    scores_at_once: int = SCORES_AT_ONCE,
) -> Distribution:
    """Count the scores of all pairs of a query and a gallery photo.

    `queries`: float32 [n, D] unit vectors, `gallery`: float32 [m, D]; pairs with a row of NaN do not count. `relevance`: int8
    [n, m], 1 for a match, 0 for a non-match, −1 for what does not count, such as junk and the query's own photo.
    """
    counts = {1: np.zeros(BINS, np.int64), 0: np.zeros(BINS, np.int64)}
    sums, separations = {1: 0.0, 0: 0.0}, []
    at_once = max(1, scores_at_once // max(1, len(gallery)))
    for start in range(0, len(queries), at_once):
        with np.errstate(invalid="ignore"):
            block = queries[start : start + at_once] @ gallery.T
        for scores, kinds in zip(block, relevance[start : start + at_once], strict=True):
            found = np.isfinite(scores)
            by_kind = {kind: scores[found & (kinds == kind)].astype(np.float64) for kind in counts}
            for kind, values in by_kind.items():
                bins = np.clip((values + 1) * (BINS / 2), 0, BINS - 1).astype(np.int64)
                counts[kind] += np.bincount(bins, minlength=BINS)
                sums[kind] += float(values.sum())
            if len(by_kind[1]) and len(by_kind[0]):
                separations.append(_separation(by_kind[1], by_kind[0]))
    totals = {kind: int(each.sum()) for kind, each in counts.items()}
    return Distribution(
        matches=counts[1],
        non_matches=counts[0],
        mean_match=sums[1] / totals[1] if totals[1] else None,
        mean_non_match=sums[0] / totals[0] if totals[0] else None,
        separation=float(np.mean(separations)) if separations else None,
    )


def _separation(matches: NDArray[np.float64], non_matches: NDArray[np.float64]) -> float:
    ordered = np.sort(non_matches)
    below = np.searchsorted(ordered, matches, side="left") + np.searchsorted(ordered, matches, side="right")
    return float(below.mean() / 2 / len(ordered))
