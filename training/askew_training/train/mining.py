"""Choosing what a query is compared with: hard negatives, random ones, and pairs that the teacher ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_training.vectors.neighbours import BLOCK, Indices, Rows, rank_rows

NONE = -1
"""Stands for a missing negative."""


def hard_negatives(
    queries: NDArray[np.float32],
    query_clusters: Indices,
    pool: Rows,
    pool_clusters: Indices,
    count: int,
    block: int = BLOCK,
) -> tuple[Indices, NDArray[np.float32]]:
    """Find the photos of a pool that are most similar to a query but show something else.

    Walks down each query's ranking by inner product, skips the query's own cluster, and takes at most one photo of each
    cluster, until it has `count`. With queries described by a student and the pool by its teacher, this is the
    asymmetric mining of Budnik & Avrithis (CVPR 2021); with both by one network, the symmetric one of Radenović et al.
    (PAMI 2018).

    `queries`: float32 [Q, D], unit length. `query_clusters`, `pool_clusters`: int64 [Q], [P]. `block`: rows of the pool
    in memory at a time. Returns rows of the pool, int64 [Q, count], and their similarities, float32 [Q, count]; `NONE`
    and NaN if the pool holds fewer other clusters.
    """
    found = np.full((len(queries), count), NONE, dtype=np.int64)
    similarities = np.full((len(queries), count), np.nan, dtype=np.float32)
    waiting, depth = np.arange(len(queries)), min(8 * count, len(pool))
    while len(waiting):
        scores, ranking = rank_rows(queries[waiting], pool, depth, block)
        is_kept = _is_first_of_other_cluster(pool_clusters[ranking], query_clusters[waiting])
        is_done = (is_kept.sum(1) >= count) | (depth == len(pool))
        for place in np.flatnonzero(is_done):
            chosen = np.flatnonzero(is_kept[place])[:count]
            found[waiting[place], : len(chosen)] = ranking[place, chosen]
            similarities[waiting[place], : len(chosen)] = scores[place, chosen]
        waiting, depth = waiting[~is_done], min(4 * depth, len(pool))
    return found, similarities


def random_negatives(
    query_clusters: Indices, pool_clusters: Indices, count: int, random: np.random.Generator
) -> Indices:
    """Draw `count` different photos of a pool for each query, none of them of the query's own cluster.

    Returns rows of the pool, int64 [Q, count]; `NONE` if there are fewer.
    """
    found = np.full((len(query_clusters), count), NONE, dtype=np.int64)
    tried = min(len(pool_clusters), 4 * count)
    for row, own in enumerate(query_clusters.tolist()):
        drawn = random.choice(len(pool_clusters), tried, replace=False)
        others = drawn[pool_clusters[drawn] != own]
        if len(others) < count:
            others = random.permutation(np.flatnonzero(pool_clusters != own))
        found[row, : min(count, len(others))] = others[:count]
    return found


def ranked_pairs(
    queries: NDArray[np.float32], pool: Rows, ranks: int, random: np.random.Generator
) -> tuple[Indices, Indices]:
    """Draw two of the `ranks` photos of a pool that are most similar to each query.

    With the teacher's vectors throughout, these are the random triplets of the published code of Budnik & Avrithis
    (CVPR 2021), which need no labels. Each query must be in the pool itself; as the first of its own ranking, it is
    never drawn. Returns the nearer and the farther of the two, as rows of the pool, int64 [Q] each.
    """
    ranks = min(ranks, len(pool) - 1)
    ranking = rank_rows(queries, pool, ranks + 1)[1][:, 1:]
    two = np.sort(np.stack([random.choice(ranks, 2, replace=False) for _ in ranking]), axis=1)
    chosen = np.take_along_axis(ranking, two, 1)
    return chosen[:, 0], chosen[:, 1]


def _is_first_of_other_cluster(clusters: Indices, own: Indices) -> NDArray[np.bool_]:
    """Which places of rankings, int64 [Q, depth] of clusters, are the first of a cluster other than the query's own."""
    order = np.argsort(clusters, axis=1, kind="stable")
    ordered = np.take_along_axis(clusters, order, 1)
    is_first = np.ones_like(ordered, dtype=np.bool_)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    in_place = np.empty_like(is_first)
    np.put_along_axis(in_place, order, is_first, 1)
    kept: NDArray[np.bool_] = in_place & (clusters != own[:, None])
    return kept
