"""Each vector's nearest others against NumPy, over one block of rows and over several."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_training.errors import DataError
from askew_training.vectors.nearest import BLOCK, nearest_rows


class Matrix:
    """A matrix in memory that is read by rows, as teacher vectors are."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.largest_read = 0

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        self.largest_read = max(self.largest_read, len(indices))
        return self.values[indices].astype(np.float32)


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def check(values: np.ndarray, nearest: np.ndarray, count: int) -> None:
    """The rows named are others, each once, and as near in their order as the nearest are."""
    scores = values @ values.T
    assert nearest.shape == (len(values), count) and nearest.dtype == np.int64
    assert not (nearest == np.arange(len(values))[:, None]).any()
    assert all(len(set(row)) == count for row in nearest.tolist())
    found = np.take_along_axis(scores, nearest, 1)
    np.fill_diagonal(scores, -np.inf)
    expected = -np.sort(-np.partition(scores, -count, axis=1)[:, -count:], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(1, 11), st.integers(0, 999))
def test_nearest_rows_are_those_of_a_full_sort(rows, dim, count, seed):
    values, count = unit(rows, dim, seed), min(count, rows - 1)
    check(values, nearest_rows(Matrix(values), count), count)


def test_nearest_rows_are_found_across_blocks():
    values = unit(2 * BLOCK + 7, 8, 0)
    # A row's nearest are far from it in the matrix: copies of the first block's rows, in the last and in the second.
    values[2 * BLOCK :] = values[:7]
    values[BLOCK + 100 : BLOCK + 107] = values[:7]
    matrix = Matrix(values)
    nearest = nearest_rows(matrix, 20)
    assert [set(row) for row in nearest[:7, :2].tolist()] == [{2 * BLOCK + i, BLOCK + 100 + i} for i in range(7)]
    assert matrix.largest_read <= BLOCK
    some = np.r_[0:50, BLOCK - 50 : BLOCK + 150, 2 * BLOCK - 50 : 2 * BLOCK + 7]
    scores = values[some] @ values.T
    found = np.take_along_axis(scores, nearest[some], 1)
    scores[np.arange(len(some)), some] = -np.inf
    np.testing.assert_allclose(found, -np.sort(-scores, axis=1)[:, :20], atol=1e-6)
    assert not (nearest == np.arange(len(values))[:, None]).any()


def test_copies_are_one_another_s_nearest_and_never_their_own():
    values = unit(4, 6, 0).repeat(3, 0)
    nearest = nearest_rows(Matrix(values), 2)
    for i, row in enumerate(nearest.tolist()):
        assert set(row) == set(range(i // 3 * 3, i // 3 * 3 + 3)) - {i}


@pytest.mark.parametrize("count", [0, 5, 6])
def test_more_neighbours_than_other_rows_are_refused_with_a_sentence(count):
    with pytest.raises(DataError, match=f"Expected 1 to 4 neighbours, there being 5 vectors, got {count}"):
        nearest_rows(Matrix(unit(5, 4, 0)), count)
