"""Quality of rankings: average precision, precision and recall at k. Needs only numpy.

Ranks are 0-based: the first result has rank 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class Scores:
    """Means over queries, 0 to 1. `recall`: by k, the share of queries with a positive among the first k results."""

    queries: int
    mean_average_precision: float
    precision_at_1: float
    recall: dict[int, float]


def average_precision(ranks: NDArray[np.int64], positives: int) -> float:
    """Average precision as revisited Oxford and Paris define it (Radenović et al., CVPR 2018): a trapezoid sum.

    `ranks`: int64 [n], the ranks of the positives that were found, junk not counted. `positives`: the number of
    positives, found or not. Each found positive contributes the mean of the precision just before it and just after it:
    for the j-th one (from 0) at rank r, j/r (1 at rank 0) and (j+1)/(r+1). This is not scikit-learn's average
    precision. Raises ValueError if there are no positives, or fewer than ranks.
    """
    if positives < 1 or len(ranks) > positives:
        raise ValueError(
            f"expected at least one positive and no more ranks than positives, got {len(ranks)} ranks and {positives} "
            "positives"
        )
    found = np.sort(ranks).astype(np.float64)
    j = np.arange(len(found), dtype=np.float64)
    before = np.where(found == 0, 1.0, j / np.maximum(found, 1.0))
    after = (j + 1) / (found + 1)
    return float((before + after).sum() / 2 / positives)


def positive_ranks(
    ranking: NDArray[np.int64], positives: NDArray[np.int64], junk: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Ranks of the positives, int64 [n], in a ranking of gallery indices from which the junk is removed."""
    is_junk = np.isin(ranking, junk)
    places = np.flatnonzero(np.isin(ranking, positives))
    return np.asarray(places - np.cumsum(is_junk)[places], dtype=np.int64)


def own_ranks(
    scores: NDArray[np.floating], own: NDArray[np.floating], same: NDArray[np.bool_]
) -> list[NDArray[np.int64]]:
    """The rank of the right answer to each query, int64 [1] each: how many wrong answers score at least as high.

    `scores`: float [n, m] of all answers. `own`: float [n], the scores of the right ones. `same`: bool [n, m], answers
    that are equally right; they are not counted. Ties and NaN count against a query.
    """
    at_least_as_high = ~(scores < own[:, None]) & ~same
    return list(at_least_as_high.sum(axis=1, dtype=np.int64)[:, None])


def recall_at(ranks_by_query: Sequence[NDArray[np.int64]], k: int) -> float:
    """The share of queries, 0 to 1, with a positive among the first k results. Raises ValueError without queries.

    `ranks_by_query`: for each query, the ranks of the positives that were found; may be empty.
    """
    if not len(ranks_by_query):
        raise ValueError("expected at least one query, got none")
    return float(np.mean([bool(np.any(np.asarray(ranks) < k)) for ranks in ranks_by_query]))


def precision_at(ranks: NDArray[np.int64], k: int) -> float:
    """The share of positives among the first k results, 0 to 1; 0 if no positive was found.

    `ranks`: as for average_precision. If the last positive is found before place k, its place is used instead of k.
    """
    if not len(ranks):
        return 0.0
    depth = min(k, int(ranks.max()) + 1)
    return float((ranks < depth).sum() / depth)


def score(ranks_by_query: Sequence[NDArray[np.int64]], positives_by_query: Sequence[int]) -> Scores:
    """Means over the queries that have positives. Raises ValueError if there are none."""
    kept = [
        (ranks, positives) for ranks, positives in zip(ranks_by_query, positives_by_query, strict=True) if positives
    ]
    if not kept:
        raise ValueError("expected at least one query with positives, got none")
    return Scores(
        queries=len(kept),
        mean_average_precision=float(np.mean([average_precision(ranks, count) for ranks, count in kept])),
        precision_at_1=float(np.mean([precision_at(ranks, 1) for ranks, _ in kept])),
        recall={k: recall_at([ranks for ranks, _ in kept], k) for k in RECALL_AT},
    )
