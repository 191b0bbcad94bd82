"""Nearest neighbours across blocks, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.vectors.neighbours import nearest_rows, rank_rows
from tests.support.training_helpers import unit_vectors

BLOCK = 50


class Matrix:
    """A matrix in memory that is read by rows, as teacher vectors are."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values
        self.largest_read = 0

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        self.largest_read = max(self.largest_read, len(indices))
        return np.asarray(self.values[indices], dtype=np.float32)


def check(values: NDArray[np.float32], nearest: NDArray[np.int64], count: int) -> None:
    """The rows are others, each once, and as near, in their order, as the nearest are."""
    scores = values @ values.T
    assert nearest.shape == (len(values), count) and nearest.dtype == np.int64
    assert not (nearest == np.arange(len(values))[:, None]).any()
    assert all(len(set(row)) == count for row in nearest.tolist())
    found = np.take_along_axis(scores, nearest, 1)
    np.fill_diagonal(scores, -np.inf)
    expected = -np.sort(-np.partition(scores, -count, axis=1)[:, -count:], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.integers(2, 12), st.integers(1, 5), st.integers(1, 11), st.integers(0, 999))
def test_nearest_rows_are_those_of_a_full_sort(rows: int, dim: int, count: int, seed: int) -> None:
    values, count = unit_vectors(rows, dim, seed), min(count, rows - 1)
    check(values, nearest_rows(Matrix(values), count), count)


def test_nearest_rows_are_found_across_blocks() -> None:
    values = unit_vectors(2 * BLOCK + 7, 8, 0)
    # A row's nearest are far from it in the matrix: copies of the first block's rows, in the last and in the second.
    values[2 * BLOCK :] = values[:7]
    values[BLOCK + 20 : BLOCK + 27] = values[:7]
    matrix = Matrix(values)
    nearest = nearest_rows(matrix, 20, block=BLOCK)
    assert [set(row) for row in nearest[:7, :2].tolist()] == [{2 * BLOCK + i, BLOCK + 20 + i} for i in range(7)]
    assert matrix.largest_read <= BLOCK
    check(values, nearest, 20)


def test_copies_are_nearest_to_one_another_and_never_to_themselves() -> None:
    values = unit_vectors(4, 6, 0).repeat(3, 0)
    nearest = nearest_rows(Matrix(values), 2)
    for i, row in enumerate(nearest.tolist()):
        assert set(row) == set(range(i // 3 * 3, i // 3 * 3 + 3)) - {i}


@pytest.mark.parametrize("count", [0, 5, 6])
def test_a_number_of_neighbours_out_of_range_is_refused_with_a_sentence(count: int) -> None:
    with pytest.raises(DataError, match=f"Expected 1 to 4 neighbours for 5 vectors, got {count}"):
        nearest_rows(Matrix(unit_vectors(5, 4, 0)), count)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 50), st.integers(1, 9), st.integers(0, 999))
def test_ranked_rows_are_those_of_a_full_sort(queries: int, rows: int, depth: int, block: int, seed: int) -> None:
    anchors, values = unit_vectors(queries, 6, seed), unit_vectors(rows, 6, seed + 1)
    scores, ranking = rank_rows(anchors, Matrix(values), min(depth, rows), block)
    expected = -np.sort(-(anchors @ values.T), axis=1)[:, :depth]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(anchors @ values.T, ranking, 1), expected, atol=1e-6)
