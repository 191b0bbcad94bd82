"""How good a ranking is: average precision, precision and recall at k. The same for training and for the server's gate.

A rank is 0-based: 0 is found first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class Scores:
    """Means over queries, 0 to 1. `recall`: by k, the share with a positive among the first k."""

    queries: int
    mean_average_precision: float
    precision_at_1: float
    recall: dict[int, float]


def average_precision(ranks: NDArray[np.int64], positives: int) -> float:
    """Average precision as revisited Oxford and Paris define it (Radenović et al., CVPR 2018): a trapezoid
    sum.

    `ranks`: the 0-based ranks of the positives that were found, junk not counted. `positives`: how many
    there are, found or not. For the j-th found positive at rank r, the mean of the precision just before it
    (j/r, or 1 at rank 0) and just after it ((j+1)/(r+1)) is taken. Not scikit-learn's average precision.
    ValueError without positives.
    """
    if positives < 1 or len(ranks) > positives:
        raise ValueError(f"expected at least one positive and no more ranks than positives, got {positives}")
    found = np.sort(ranks).astype(np.float64)
    j = np.arange(len(found), dtype=np.float64)
    before = np.where(found == 0, 1.0, j / np.maximum(found, 1.0))
    after = (j + 1) / (found + 1)
    return float((before + after).sum() / 2 / positives)


def positive_ranks(
    ranking: NDArray[np.int64], positives: NDArray[np.int64], junk: NDArray[np.int64]
) -> NDArray[np.int64]:
    """0-based ranks of the positives in a ranking of gallery indices, as if the junk were not in it."""
    is_junk = np.isin(ranking, junk)
    places = np.flatnonzero(np.isin(ranking, positives))
    return np.asarray(places - np.cumsum(is_junk)[places], dtype=np.int64)


def own_ranks(
    scores: NDArray[np.floating], own: NDArray[np.floating], same: NDArray[np.bool_]
) -> list[NDArray[np.int64]]:
    """The rank of the one right answer to each query, int64 [1] each: how many wrong ones score at least as high.

    `scores`: float [n, m] of all answers; `own`: float [n], the right one's; `same`: bool [n, m], answers that are as
    right as it is, and count neither way. Ties count against a query, and so does NaN.
    """
    at_least_as_high = ~(scores < own[:, None]) & ~same
    return list(at_least_as_high.sum(axis=1, dtype=np.int64)[:, None])


def recall_at(ranks_by_query: Sequence[NDArray[np.int64]], k: int) -> float:
    """The share of queries, 0 to 1, with a positive among the first k. ValueError without queries.

    `ranks_by_query`: for each query the ranks of the positives that were found; may be empty.
    """
    if not len(ranks_by_query):
        raise ValueError("expected at least one query")
    return float(np.mean([bool(np.any(np.asarray(ranks) < k)) for ranks in ranks_by_query]))


def precision_at(ranks: NDArray[np.int64], k: int) -> float:
    """The share of positives among the first k, where k is cut to the 1-based rank of the last positive
    found.

    `ranks`: as for average_precision; 0 where none was found.
    """
    if not len(ranks):
        return 0.0
    depth = min(k, int(ranks.max()) + 1)
    return float((ranks < depth).sum() / depth)


def score(ranks_by_query: Sequence[NDArray[np.int64]], positives_by_query: Sequence[int]) -> Scores:
    """Average over queries; those without positives are left out. ValueError when none is left."""
    kept = [
        (ranks, positives) for ranks, positives in zip(ranks_by_query, positives_by_query, strict=True) if positives
    ]
    if not kept:
        raise ValueError("expected at least one query with positives")
    return Scores(
        queries=len(kept),
        mean_average_precision=float(np.mean([average_precision(ranks, count) for ranks, count in kept])),
        precision_at_1=float(np.mean([precision_at(ranks, 1) for ranks, _ in kept])),
        recall={k: recall_at([ranks for ranks, _ in kept], k) for k in RECALL_AT},
    )
