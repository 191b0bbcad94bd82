"""Who an anchor is compared with: hard negatives, random ones, and pairs that the teacher ranks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

QUERIES_AT_ONCE = 512
"""Queries whose similarities to the whole pool are in memory together: 40 MB for a pool of 20,000."""

NONE = -1
"""Stands where a query has no further negative."""


def hard_negatives(
    queries: NDArray[np.float32],
    query_clusters: NDArray[np.int64],
    pool: NDArray[np.float32],
    pool_clusters: NDArray[np.int64],
    count: int,
) -> NDArray[np.int64]:
    """Find the photos of a pool that a query is most easily taken for: int64 [Q, count], rows of the pool.

    Walks down each query's ranking by inner product, skips its own cluster, and takes at most one photo of each
    cluster, until it has `count`; `NONE` where the pool holds fewer other clusters. With queries described by a
    student and the pool by its teacher this is the asymmetric mining of Budnik & Avrithis (CVPR 2021), with both by one
    network the symmetric one of Radenović et al. (PAMI 2018).

    `queries`: float32 [Q, D] and `pool`: float32 [P, D], unit length. `query_clusters`, `pool_clusters`: int64 [Q], [P].
    """
    found = np.full((len(queries), count), NONE, dtype=np.int64)
    against, clusters = torch.from_numpy(pool).T, torch.from_numpy(pool_clusters)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        similarity = torch.from_numpy(queries[part]) @ against
        own = torch.from_numpy(query_clusters[part])
        found[part] = _one_for_each_cluster(similarity, own, clusters, count).numpy()
    return found


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
    queries: NDArray[np.float32], pool: NDArray[np.float32], ranks: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw two of the `ranks` photos of a pool that are most similar to each query: (the nearer, the farther), int64
    [Q] each, rows of the pool.

    With all vectors the teacher's, these are the random triplets of the published code of Budnik & Avrithis (CVPR
    2021), which need no labels. A query that is in the pool itself is the first of its own ranks, and is never drawn.
    """
    ranks = min(ranks, len(pool) - 1)
    nearer, farther = np.empty(len(queries), np.int64), np.empty(len(queries), np.int64)
    against = torch.from_numpy(pool).T
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        ranking = (torch.from_numpy(queries[part]) @ against).topk(ranks + 1).indices[:, 1:].numpy()
        two = np.sort(np.stack([random.choice(ranks, 2, replace=False) for _ in ranking]), axis=1)
        nearer[part] = np.take_along_axis(ranking, two[:, :1], 1)[:, 0]
        farther[part] = np.take_along_axis(ranking, two[:, 1:], 1)[:, 0]
    return nearer, farther


def _one_for_each_cluster(similarity: Tensor, own: Tensor, clusters: Tensor, count: int) -> Tensor:
    """The best `count` of each row, at most one of a cluster: int64 [Q, count]."""
    found = torch.full((len(similarity), count), NONE, dtype=torch.int64)
    waiting = torch.arange(len(similarity))
    depth = min(8 * count, len(clusters))
    while len(waiting):
        ranking = similarity[waiting].topk(depth).indices
        kept = _kept(clusters[ranking], own[waiting])
        enough = (kept.sum(1) >= count) | (depth == len(clusters))
        for row in torch.nonzero(enough)[:, 0].tolist():
            chosen = ranking[row][kept[row]][:count]
            found[waiting[row], : len(chosen)] = chosen
        waiting = waiting[~enough]
        depth = min(4 * depth, len(clusters))
    return found


def _kept(clusters: Tensor, own: Tensor) -> Tensor:
    """Which places of a ranking, int64 [Q, depth] of clusters, are of another cluster and the first of it: bool."""
    order = torch.argsort(clusters, dim=1, stable=True)
    ordered = torch.gather(clusters, 1, order)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(is_first).scatter(1, order, is_first) & (clusters != own[:, None])
