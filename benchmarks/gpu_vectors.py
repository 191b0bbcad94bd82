"""Vectors for benchmarks/gpu.py, in a file, as the source that askew's process of the GPU loads them from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]

QUERIES = 256
BLOCK = 8_192


@dataclass(frozen=True)
class Stored:
    """float16 vectors in a file, with the labels 1, 2, …, as a VectorSource."""

    path: Path
    items: int
    dim: int

    def covered(self) -> tuple[int, Labels]:
        return self.items, np.arange(1, self.items + 1)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        rows = np.memmap(self.path, dtype="<f2", mode="r", shape=(self.items, self.dim))
        for start in range(0, len(labels), BLOCK):
            part = labels[start : start + BLOCK]
            yield part, rows[part - 1].astype(np.float32)


def write_vectors(path: Path, items: int, dim: int) -> tuple[Stored, Vectors]:
    """Write unit vectors in loose clusters, and queries of the same kind: a flat search takes as long for any vectors."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(1, min(2_000, items // 12)), dim), dtype=np.float32)

    def some(count: int) -> Vectors:
        drawn = centres[random.integers(0, len(centres), count)]
        drawn += random.standard_normal((count, dim), dtype=np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn

    queries = some(QUERIES).astype(np.float16).astype(np.float32)
    with path.open("wb") as stream:
        for start in range(0, items, BLOCK):
            some(min(BLOCK, items - start)).astype("<f2").tofile(stream)
    np.save(path.with_suffix(".npy"), queries)
    return Stored(path, items, dim), queries


def true_nearest(stored: Stored, queries: Vectors) -> Labels:
    """The true ten nearest rows, by NumPy."""
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for labels, vectors in stored.batches(stored.covered()[1]):
        scores = np.concatenate([scores, queries @ vectors.T], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(labels - 1, (len(queries), len(labels)))], axis=1)
        best = np.argpartition(-scores, min(9, scores.shape[1] - 1), axis=1)[:, :10]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return rows
