"""Vectors like those of a real gallery, for benchmarks: clusters of very different sizes, and a falling spectrum.

A third of the vectors belong to no cluster; the others belong to clusters whose sizes follow Zipf's law. Components fall
off by a power law, like those of a whitened network. Two vectors of a cluster have a cosine of 0.5 to 0.9.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK = 10_000


def clustered_blocks(count: int, dim: int, seed: int = 0) -> Iterator[NDArray[np.float32]]:
    """`count` unit vectors in blocks of up to 10,000, float32 [n, dim]; the same ones for the same seed and count."""
    random = np.random.default_rng(seed)
    spectrum = ((1 + np.arange(dim, dtype=np.float32)) ** -0.25).astype(np.float32)
    clusters = max(1, count // 12)
    centres = unit(random.standard_normal((clusters, dim), dtype=np.float32) * spectrum)
    weights = 1.0 / np.arange(1, clusters + 1) ** 0.6
    weights /= weights.sum()
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        own = unit(random.standard_normal((n, dim), dtype=np.float32) * spectrum)
        shared = np.sqrt(random.uniform(0.5, 0.9, n)).astype(np.float32)
        shared[random.random(n) < 0.3] = 0
        chosen = centres[random.choice(clusters, n, p=weights)]
        yield unit(shared[:, None] * chosen + np.sqrt(1 - shared**2)[:, None] * own)


def clustered(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """The vectors of `clustered_blocks` in one array: float32 [count, dim]."""
    return np.concatenate(list(clustered_blocks(count, dim, seed)))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit length."""
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def exact_neighbours(stored: NDArray[np.float32], queries: NDArray[np.float32], limit: int) -> NDArray[np.int64]:
    """The rows of the true nearest, nearest first: int64 [n, limit], computed in blocks."""
    best = np.empty((len(queries), 0), dtype=np.float32)
    positions = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(stored), BLOCK):
        scores = queries @ stored[start : start + BLOCK].T
        here = np.arange(start, start + scores.shape[1])[None].repeat(len(queries), 0)
        best, positions = np.hstack([best, scores]), np.hstack([positions, here])
        order = np.argsort(-best, axis=1, kind="stable")[:, :limit]
        best, positions = np.take_along_axis(best, order, 1), np.take_along_axis(positions, order, 1)
    return positions


def recall(found: list[list[int]], truth: NDArray[np.int64]) -> float:
    """The share of the true nearest that were found, averaged over queries."""
    hits = [len(set(row) & set(true.tolist())) / len(true) for row, true in zip(found, truth, strict=True)]
    return float(np.mean(hits))
