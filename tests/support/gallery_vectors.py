"""Vectors for tests of the index: clusters with a falling spectrum, and a source to build from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


def clustered(count: int, dim: int, seed: int = 0) -> Vectors:
    """Unit vectors, float32 [count, dim], about ten to a cluster, rounded to float16 as stored ones are."""
    random = np.random.default_rng(seed)
    spectrum = (1 + np.arange(dim)) ** -0.4
    centres = random.standard_normal((max(1, count // 10), dim)) * spectrum
    vectors = centres[random.integers(0, len(centres), count)] + random.standard_normal((count, dim)) * spectrum
    rounded: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return rounded


def nearest(stored: dict[int, Vectors], query: Vectors, limit: int) -> list[int]:
    """The labels of the true nearest, nearest first."""
    labels = list(stored)
    scores = np.array([stored[label] for label in labels]) @ query if labels else np.empty(0)
    return [labels[position] for position in np.argsort(-scores, kind="stable")[:limit]]


def recall(found: Labels, stored: dict[int, Vectors], queries: Vectors, limit: int = 10) -> float:
    """The share of the true nearest that the answers hold, however these are ordered."""
    labels = np.array(list(stored))
    order = np.argsort(-(queries @ np.stack(list(stored.values())).T), axis=1, kind="stable")
    true = labels[order[:, :limit]]
    return float(np.mean([np.isin(nearest, row).mean() for nearest, row in zip(true, found, strict=True)]))


@dataclass(frozen=True)
class Given:
    """Labels 1, 2, … for the rows of a matrix."""

    vectors: Vectors

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def covered(self) -> tuple[int, Labels]:
        return len(self.vectors), np.arange(1, len(self.vectors) + 1)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        for start in range(0, len(labels), 1_000):
            part = labels[start : start + 1_000]
            yield part, self.vectors[part - 1]


def write_database(path: Path, vectors: Vectors, sequence: int) -> None:
    """Write a database with the tables that a build reads; the labels are 1, 2, …"""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT)")
        connection.execute("CREATE TABLE vectors (label INTEGER PRIMARY KEY, vector BLOB)")
        connection.execute("INSERT INTO facts VALUES ('sequence', ?)", (str(sequence),))
        rows = [(label, vector.astype("<f2").tobytes()) for label, vector in enumerate(vectors, 1)]
        connection.executemany("INSERT INTO vectors VALUES (?, ?)", rows)
    connection.close()
