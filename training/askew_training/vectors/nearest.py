"""Each vector's nearest others in a whole matrix of vectors, exactly."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from askew_training.errors import DataError

# Two blocks of 2048-d vectors and their similarities: some 50 MB.
BLOCK = 2048


class Rows(Protocol):
    """A matrix that is read by rows, such as `TeacherVectors`."""

    def __len__(self) -> int: ...

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [n, D]."""
        ...


def nearest_rows(vectors: Rows, count: int) -> NDArray[np.int64]:
    """The `count` rows with the largest inner product with each row, itself left out: int64 [N, count], nearest first.

    Reads two blocks of rows at a time, and each pair of blocks once. Rows of one inner product come in any order.
    Raises DataError where there are not `count` other rows.
    """
    total = len(vectors)
    if not 1 <= count < total:
        raise DataError(
            f"Expected 1 to {total - 1} neighbours, there being {total} vectors, got {count}. "
            "Give more photos, or ask for fewer neighbours."
        )
    scores = torch.full((total, count), -torch.inf)
    nearest = torch.zeros((total, count), dtype=torch.int64)
    for start in range(0, total, BLOCK):
        block = _read(vectors, start)
        for other_start in range(start, total, BLOCK):
            other = block if other_start == start else _read(vectors, other_start)
            similarity = block @ other.T
            if other_start == start:
                similarity.fill_diagonal_(-torch.inf)
            else:
                _merge(scores[other_start:], nearest[other_start:], similarity.T, start)
            _merge(scores[start:], nearest[start:], similarity, other_start)
    return nearest.numpy()


def _read(vectors: Rows, start: int) -> Tensor:
    indices = np.arange(start, min(start + BLOCK, len(vectors)))
    return torch.from_numpy(np.require(vectors.rows(indices), np.float32, ["C", "W"]))


def _merge(scores: Tensor, nearest: Tensor, similarity: Tensor, offset: int) -> None:
    """Let the columns of `similarity`, rows `offset` and on, compete for the first rows of `scores` and `nearest`."""
    rows, columns = similarity.shape
    count = scores.shape[1]
    found, places = similarity.topk(min(count, columns), dim=1)
    candidates = torch.cat([scores[:rows], found], 1)
    rows_of = torch.cat([nearest[:rows], places + offset], 1)
    best, chosen = candidates.topk(count, dim=1)
    scores[:rows], nearest[:rows] = best, rows_of.gather(1, chosen)
