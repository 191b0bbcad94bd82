"""Whitening learned from pairs of photos that show the same: directions in which pairs differ are made small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.heads.linear import Whitening
from askew_training.heads.pca import check_dimensions

MATES_OF_A_PHOTO = 5
"""The most other photos of its instance that a photo is paired with, so that the number of pairs of a large instance
does not grow with the square of its photos."""
FIRST_JITTER = 1e-10
DEFAULT_SHRINKAGE = 0.5
"""For some thousand photos, which give few pairs for each dimension; see docs/whitening.md."""
SMALLEST_SPREAD = 1e-14
"""Relative to the largest spread. A singular S whose diagonal was raised by 1e-10 still gives some 1e-10."""
ROWS_AT_ONCE = 8192

Exact = NDArray[np.float64]
Indices = NDArray[np.int64]


def pairs_of(instances: Sequence[str]) -> tuple[Indices, Indices]:
    """Pair photos of the same instance: indices of queries and of their positives, int64 [P] each.

    `instances` [n]: what each photo shows, "" if unknown. The photos of an instance form a ring, and each is paired
    with up to five others that are spread over it, because neighbours in the list were often taken at the same moment.
    Nothing is drawn at random. Raises DataError if there is no pair.
    """
    by_instance: dict[str, list[int]] = {}
    for index, instance in enumerate(instances):
        if instance:
            by_instance.setdefault(instance, []).append(index)
    queries: list[int] = []
    positives: list[int] = []
    for photos in by_instance.values():
        for offset in _offsets(len(photos)):
            queries += photos
            positives += photos[offset:] + photos[:offset]
    if not queries:
        raise DataError(
            "No two photos show the same. Expected a manifest with two photos of role train for some instance_id, "
            "or --method pca, which needs no labels."
        )
    return np.array(queries, dtype=np.int64), np.array(positives, dtype=np.int64)


def learn_whitening_of_pairs(
    vectors: NDArray[np.floating], queries: Indices, positives: Indices, dim: int, shrinkage: float = 0.0
) -> Whitening:
    """Learn the whitening of Radenović et al. (PAMI 2018, section 3.4, after Mikolajczyk & Matas, ICCV 2007).

    `vectors`: float32 or float64 [n, C]. `queries`, `positives`: rows of photos that show the same, pair by pair. With S
    the covariance of the differences of the pairs, and m the mean of the queries, photos are centred by m, whitened by
    the inverse of S's Cholesky factor, and rotated to their principal components, of which the first `dim` are kept.
    The map is scaled so that the mean squared length of its results is 1.

    `shrinkage`, 0 to below 1: the share of S that is replaced by a multiple of the identity with the same trace. 0 is
    the published form, and right if there are many more pairs than C. To a singular S, 1e-10 of the identity is added,
    then ten times that, and so on until it can be factorised, as in the published code.

    Raises DataError for a dimension out of range, no more photos than dimensions, fewer pairs than dimensions without
    shrinkage, photos that vary in fewer dimensions, indices that do not fit, pairs that do not differ, or vectors with
    NaN.
    """
    count, channels = vectors.shape
    check_dimensions(dim, channels, count)
    if not 0 <= shrinkage < 1:
        raise DataError(f"Expected a shrinkage from 0 to below 1, got {shrinkage:g}.")
    if len(queries) != len(positives) or not len(queries):
        raise DataError(f"Expected one or more pairs, got {len(queries)} queries and {len(positives)} positives.")
    if not shrinkage and len(queries) < dim:
        raise DataError(
            f"Whitening to {dim} dimensions without shrinkage needs {dim} pairs or more, got {len(queries)}: the others would be "
            f"noise. Give more pairs, ask for fewer dimensions, or use a shrinkage of {DEFAULT_SHRINKAGE:g}."
        )
    if not np.isfinite(vectors).all():
        raise DataError(f"Expected finite vectors, but some of the {count} hold NaN.")
    mean = vectors[queries].mean(axis=0, dtype=np.float64)
    differences = _gram(_differences(vectors, queries, positives), channels) / len(queries)
    trace = float(np.trace(differences))
    if not trace > 0:
        raise DataError(
            f"The two photos of each of the {len(queries)} pairs have equal vectors. Expected different photos."
        )
    shrunk = (1 - shrinkage) * differences + shrinkage * trace / channels * np.eye(channels)
    whitener = np.linalg.inv(_cholesky(shrunk))
    scatter = whitener @ _gram(_centred(vectors, mean), channels) @ whitener.T
    spreads, axes = np.linalg.eigh((scatter + scatter.T) / 2)
    spreads, axes = spreads[::-1][:dim], axes[:, ::-1][:, :dim]
    if not spreads[-1] > SMALLEST_SPREAD * spreads[0]:
        raise DataError(
            f"The photos vary in {int((spreads > SMALLEST_SPREAD * spreads[0]).sum())} dimensions, fewer than {dim}. Give more "
            "photos, or ask for fewer dimensions."
        )
    weight = axes.T @ whitener
    # The sign of a component is arbitrary; fixed here, so that the same photos give the same space on every machine.
    weight *= np.sign(weight[np.arange(dim), np.abs(weight).argmax(1)])[:, None]
    weight /= np.sqrt(spreads.sum() / count)
    return Whitening(weight.astype(np.float32), (-weight @ mean).astype(np.float32))


def _offsets(count: int) -> list[int]:
    """Distances along a ring of `count` photos, up to half of it, spread evenly; empty if there is only one photo."""
    half = count // 2
    if not half:
        return []
    return sorted({round(float(offset)) for offset in np.linspace(1, half, min(MATES_OF_A_PHOTO, half))})


def _differences(vectors: NDArray[np.floating], queries: Indices, positives: Indices) -> Iterator[Exact]:
    for start in range(0, len(queries), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        yield vectors[queries[part]].astype(np.float64) - vectors[positives[part]]


def _centred(vectors: NDArray[np.floating], mean: Exact) -> Iterator[Exact]:
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        yield vectors[start : start + ROWS_AT_ONCE].astype(np.float64) - mean


def _gram(parts: Iterator[Exact], channels: int) -> Exact:
    """The sum of x xᵀ over all rows, float64 [C, C]; only some rows at a time are held in double precision."""
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
