"""Whitening learned from pairs of photos that show the same: what differs within a pair is noise, and made small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.heads.linear import Whitening

MATES_OF_A_PHOTO = 5
"""With how many others of its instance a photo is paired, so that large instances do not count by their square."""
FIRST_JITTER = 1e-10
DEFAULT_SHRINKAGE = 0.5
"""For photos by the thousand, of which there are few pairs for each dimension; see docs/whitening.md."""
ROWS_AT_ONCE = 8192

Exact = NDArray[np.float64]
Rows = NDArray[np.int64]


def pairs_of(instances: Sequence[str]) -> tuple[Rows, Rows]:
    """Pair photos of the same instance: int64 [p] rows of queries and of their positives.

    `instances` [n]: what each photo shows, "" where unknown. The photos of an instance stand in a ring, and each is
    paired with up to five others that are spread over it, so that photos next to each other, which are often of one
    moment, are not all that is compared. No pair is drawn by chance. Raises DataError when there is no pair.
    """
    rows_of: dict[str, list[int]] = {}
    for row, instance in enumerate(instances):
        if instance:
            rows_of.setdefault(instance, []).append(row)
    queries: list[int] = []
    positives: list[int] = []
    for rows in rows_of.values():
        for offset in _offsets(len(rows)):
            queries += rows
            positives += rows[offset:] + rows[:offset]
    if not queries:
        raise DataError(
            "No two photos show the same. Expected a manifest in which an instance_id has two photos of role train, "
            "or --method pca, which needs no labels."
        )
    return np.array(queries, dtype=np.int64), np.array(positives, dtype=np.int64)


def learn_whitening_of_pairs(
    vectors: NDArray[np.float32], queries: Rows, positives: Rows, dim: int, shrinkage: float = 0.0
) -> Whitening:
    """Learn the whitening of Radenović et al. (PAMI 2018, section 3.4, after Mikolajczyk & Matas, ICCV 2007).

    `vectors`: float32 or float64 [n, C]; `queries` and `positives`: rows of photos that show the same, pair by pair.
    With S the covariance of the differences of the pairs, and m the mean of the queries, photos are centred by m,
    whitened by the inverse of S's Cholesky factor, and rotated to their principal components, of which the first `dim`
    are kept. The map is scaled so that the mean squared length of what it returns is 1.

    `shrinkage`, 0 to below 1: how much of S is replaced by a multiple of the identity of the same trace. 0 is the
    published form, and right for many more pairs than C. A singular S gets a little of the identity added, 1e-10, ten
    times that and so on until it can be factorised, as in the published code.

    Raises DataError for a dimension that there is not, rows that do not fit, pairs that do not differ, or vectors that
    are NaN.
    """
    count, channels = vectors.shape
    if not 1 <= dim <= channels:
        raise DataError(f"Expected 1 to {channels} dimensions, as many as the network pools, got {dim}.")
    if not 0 <= shrinkage < 1:
        raise DataError(f"Expected a shrinkage from 0 to below 1, got {shrinkage:g}.")
    if len(queries) != len(positives) or not len(queries):
        raise DataError(f"Expected one or more pairs, got {len(queries)} queries and {len(positives)} positives.")
    if not np.isfinite(vectors).all():
        raise DataError(f"Expected finite vectors, but some of the {count} hold NaN.")
    mean = vectors[queries].mean(axis=0, dtype=np.float64)
    differences = _gram(_differences(vectors, queries, positives), channels) / len(queries)
    trace = float(np.trace(differences))
    if not trace > 0:
        raise DataError(f"The {len(queries)} pairs do not differ. Expected two different photos in each.")
    shrunk = (1 - shrinkage) * differences + shrinkage * trace / channels * np.eye(channels)
    whitener = np.linalg.inv(_cholesky(shrunk))
    scatter = whitener @ _gram(_centred(vectors, mean), channels) @ whitener.T
    spreads, axes = np.linalg.eigh((scatter + scatter.T) / 2)
    spreads, axes = spreads[::-1][:dim], axes[:, ::-1][:, :dim]
    weight = axes.T @ whitener
    # A component's sign is free; fixed here, so that the same photos give the same space on every machine.
    weight *= np.sign(weight[np.arange(dim), np.abs(weight).argmax(1)])[:, None]
    weight /= np.sqrt(spreads.sum() / count)
    return Whitening(weight.astype(np.float32), (-weight @ mean).astype(np.float32))


def _offsets(count: int) -> list[int]:
    """Distances round a ring of `count`, at most half-way, spread evenly: none where there is no other photo."""
    half = count // 2
    if not half:
        return []
    return sorted({round(float(offset)) for offset in np.linspace(1, half, min(MATES_OF_A_PHOTO, half))})


def _differences(vectors: NDArray[np.float32], queries: Rows, positives: Rows) -> Iterator[Exact]:
    for start in range(0, len(queries), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield vectors[queries[part]].astype(np.float64) - vectors[positives[part]]


def _centred(vectors: NDArray[np.float32], mean: Exact) -> Iterator[Exact]:
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        yield vectors[start : start + ROWS_AT_ONCE].astype(np.float64) - mean


def _gram(parts: Iterator[Exact], channels: int) -> Exact:
    """The sum of x xᵀ over all rows, float64 [C, C]; a part of the rows is held in double precision at a time."""
    total = np.zeros((channels, channels))
    for rows in parts:
        total += rows.T @ rows
    return total


def _cholesky(matrix: Exact) -> Exact:
    jitter = 0.0
    while True:
        try:
            return np.asarray(np.linalg.cholesky(matrix + jitter * np.eye(len(matrix))), dtype=np.float64)
        except np.linalg.LinAlgError:
            jitter = 10 * jitter or FIRST_JITTER
