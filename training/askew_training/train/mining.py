"""Who an anchor is compared with: hard negatives, random ones, and pairs that the teacher ranks."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK = 2048
"""Rows of a pool that are in memory together: 17 MB of 2,048 dimensions, and as much of similarities to 2,000 queries."""

NONE = -1
"""Stands where a query has no further negative."""


class Rows(Protocol):
    """A pool of vectors that is read by rows: it need not be in memory."""

    def __len__(self) -> int: ...

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [n, D], unit length."""
        ...


def hard_negatives(
    queries: NDArray[np.float32],
    query_clusters: NDArray[np.int64],
    pool: Rows,
    pool_clusters: NDArray[np.int64],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the photos of a pool that a query is most easily taken for: int64 [Q, count], rows of the pool; and their
    similarities, float32 [Q, count].

    Walks down each query's ranking by inner product, skips its own cluster, and takes at most one photo of each
    cluster, until it has `count`; `NONE` and NaN where the pool holds fewer other clusters. With queries described by a
    student and the pool by its teacher this is the asymmetric mining of Budnik & Avrithis (CVPR 2021), with both by one
    network the symmetric one of Radenović et al. (PAMI 2018).

    `queries`: float32 [Q, D], unit length. `query_clusters`, `pool_clusters`: int64 [Q], [P].
    """
    found = np.full((len(queries), count), NONE, dtype=np.int64)
    similarities = np.full((len(queries), count), np.nan, dtype=np.float32)
    waiting, depth = np.arange(len(queries)), min(8 * count, len(pool))
    while len(waiting):
        scores, ranking = _ranking(torch.from_numpy(queries[waiting]), pool, depth)
        is_kept = _is_kept(pool_clusters[ranking], query_clusters[waiting])
        enough = (is_kept.sum(1) >= count) | (depth == len(pool))
        for place in np.flatnonzero(enough):
            chosen = np.flatnonzero(is_kept[place])[:count]
            found[waiting[place], : len(chosen)] = ranking[place, chosen]
            similarities[waiting[place], : len(chosen)] = scores[place, chosen]
        waiting, depth = waiting[~enough], min(4 * depth, len(pool))
    return found, similarities


def random_negatives(
    query_clusters: NDArray[np.int64],
    pool_clusters: NDArray[np.int64],
    count: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw `count` different photos of a pool for each query, none of its own cluster: int64 [Q, count], rows of the
    pool, `NONE` where there are fewer."""
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
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw two of the `ranks` photos of a pool that are most similar to each query: (the nearer, the farther), int64
    [Q] each, rows of the pool.

    With all vectors the teacher's, these are the random triplets of the published code of Budnik & Avrithis (CVPR
    2021), which need no labels. A query is in the pool itself, as the first of its own ranks, and is never drawn.
    """
    ranks = min(ranks, len(pool) - 1)
    ranking = _ranking(torch.from_numpy(queries), pool, ranks + 1)[1][:, 1:]
    two = np.sort(np.stack([random.choice(ranks, 2, replace=False) for _ in ranking]), axis=1)
    chosen = np.take_along_axis(ranking, two, 1)
    return chosen[:, 0], chosen[:, 1]


def _ranking(queries: Tensor, pool: Rows, depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `depth` rows of a pool that are most similar to each query, and how similar: [Q, depth] each."""
    scores, ranking = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(pool), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(pool)))
        similarity = queries @ torch.from_numpy(np.require(pool.rows(rows), np.float32, ["C", "W"])).T
        best = similarity.topk(min(depth, len(rows)))
        both = torch.cat([scores, best.values], 1)
        merged = both.topk(min(depth, both.shape[1]))
        ranking = torch.cat([ranking, best.indices + start], 1).gather(1, merged.indices)
        scores = merged.values
    return scores.numpy(), ranking.numpy()


def _is_kept(clusters: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places of rankings, int64 [Q, depth] of clusters, are of another cluster and the first of it: bool."""
    order = np.argsort(clusters, axis=1, kind="stable")
    ordered = np.take_along_axis(clusters, order, 1)
    is_first = np.ones_like(ordered, dtype=np.bool_)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    in_place = np.empty_like(is_first)
    np.put_along_axis(in_place, order, is_first, 1)
    kept: NDArray[np.bool_] = in_place & (clusters != own[:, None])
    return kept
