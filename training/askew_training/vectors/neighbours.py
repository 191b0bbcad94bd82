"""Exact nearest neighbours in a large matrix of vectors, which is read block by block."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.errors import DataError

BLOCK = 2048
"""Rows in memory at a time: 17 MB of 2,048 dimensions, and as much for their similarities to 2,000 queries."""

Indices = NDArray[np.int64]


class Rows(Protocol):
    """A matrix of vectors that is read by rows and need not be in memory, such as `TeacherVectors`."""

    def __len__(self) -> int: ...

    def rows(self, indices: Indices) -> NDArray[np.float32]:
        """float32 [n, D]."""
        ...


def rank_rows(
    queries: NDArray[np.float32], vectors: Rows, depth: int, block: int = BLOCK
) -> tuple[NDArray[np.float32], Indices]:
    """Find the `depth` rows with the largest inner product with each query, best first.

    `queries`: float32 [Q, D]. Returns the inner products, float32 [Q, depth], and the rows, int64 [Q, depth]. Rows with
    equal inner products are in no fixed order.
    """
    anchors = torch.from_numpy(queries)
    scores, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(vectors), block):
        scores, rows = _merge(scores, rows, anchors @ _read(vectors, start, block).T, start, depth)
    return scores.numpy(), rows.numpy()


def nearest_rows(vectors: Rows, count: int, block: int = BLOCK) -> Indices:
    """Find the `count` other rows with the largest inner product with each row: int64 [N, count], nearest first.

    Holds two blocks of rows at a time, and computes each pair of blocks once. Rows with equal inner products are in no
    fixed order. Raises DataError if there are fewer than `count` other rows.
    """
    total = len(vectors)
    if not 1 <= count < total:
        raise DataError(
            f"Expected 1 to {total - 1} neighbours for {total} vectors, got {count}. "
            "Give more photos, or ask for fewer neighbours."
        )
    scores = torch.full((total, count), -torch.inf)
    nearest = torch.zeros((total, count), dtype=torch.int64)

    def update(first: int, similarity: Tensor, offset: int) -> None:
        """Let the columns of `similarity`, rows from `offset` on, compete for the places of the rows from `first` on."""
        these = slice(first, first + len(similarity))
        scores[these], nearest[these] = _merge(scores[these], nearest[these], similarity, offset, count)

    for start in range(0, total, block):
        rows = _read(vectors, start, block)
        similarity = (rows @ rows.T).fill_diagonal_(-torch.inf)
        update(start, similarity, start)
        for other_start in range(start + block, total, block):
            similarity = rows @ _read(vectors, other_start, block).T
            update(other_start, similarity.T, start)
            update(start, similarity, other_start)
    return nearest.numpy()


def _read(vectors: Rows, start: int, block: int) -> Tensor:
    indices = np.arange(start, min(start + block, len(vectors)))
    return torch.from_numpy(np.require(vectors.rows(indices), np.float32, ["C", "W"]))


def _merge(scores: Tensor, rows: Tensor, similarity: Tensor, offset: int, depth: int) -> tuple[Tensor, Tensor]:
    """The best `depth` of what was found so far, `scores` and `rows`, [Q, k] each, and of `similarity`, [Q, n].

    Column i of `similarity` is of row `offset` + i.
    """
    found, columns = similarity.topk(min(depth, similarity.shape[1]), dim=1)
    candidates = torch.cat([scores, found], 1)
    best, chosen = candidates.topk(min(depth, candidates.shape[1]), dim=1)
    return best, torch.cat([rows, columns + offset], 1).gather(1, chosen)
