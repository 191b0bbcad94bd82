"""The exact segment: true neighbours by score and label, after any additions, moves and removals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_server.index.exact import BLOCK, ExactSegment
from tests.support.gallery_vectors import clustered
from tests.support.soak import examples

DIM = 8
COUNT = 3 * BLOCK + 5
VECTORS = clustered(COUNT, DIM, seed=1)
QUERIES = clustered(20, DIM, seed=2)
LABELS = np.arange(1, COUNT + 1)


def test_of_equal_vectors_the_smallest_labels_are_found() -> None:
    segment = ExactSegment(DIM)
    segment.add(np.arange(101, 151), np.repeat(VECTORS[:1], 50, axis=0))
    segment.add(np.arange(1, 51), np.repeat(VECTORS[:1], 50, axis=0))
    assert segment.search(VECTORS[:1], 7, None, False).labels[0].tolist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(st.integers(1, 90), st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_the_nearest_come_by_score_then_label_however_many_are_equal(
    count: int, limit: int, asked: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Components of -1, 0 and 1: sums without rounding, and only a few different ones.
    vectors = random.integers(-1, 2, (count, 4)).astype(np.float32)
    queries = random.integers(-1, 2, (asked, 4)).astype(np.float32)
    labels = random.permutation(10 * count)[:count].astype(np.int64)
    segment = ExactSegment(4)
    segment.add(labels, vectors)
    found = segment.search(queries, limit, None, False)
    for scores, row, query in zip(found.scores, found.labels, queries, strict=True):
        expected = sorted(zip((-vectors @ query).tolist(), labels.tolist(), strict=True))[:limit]
        assert list(zip((-scores).tolist(), row.tolist(), strict=True)) == expected


def test_a_product_split_over_threads_is_the_same() -> None:
    one, three = ExactSegment(DIM, 1), ExactSegment(DIM, 3)
    for segment in (one, three):
        segment.add(LABELS, VECTORS)
    for queries in (QUERIES[:1], QUERIES):
        found = [segment.search(queries, 9, None, False) for segment in (one, three)]
        np.testing.assert_array_equal(found[0].labels, found[1].labels)
        np.testing.assert_array_equal(found[0].scores, found[1].scores)


def test_removing_leaves_every_other_vector_under_its_label() -> None:
    segment = ExactSegment(DIM)
    segment.add(LABELS, VECTORS)
    left = LABELS
    # A few rows, which are moved; more than an eighth, for which the matrix is rewritten; an unknown label.
    for removed in (np.array([1, 2, COUNT]), np.arange(500, 2_500), np.array([10 * COUNT])):
        segment.remove(removed)
        left = np.setdiff1d(left, removed)
        np.testing.assert_array_equal(np.sort(segment.labels), left)
        np.testing.assert_array_equal(segment.vectors(left), VECTORS[left - 1])


def test_memory_is_given_back() -> None:
    segment = ExactSegment(DIM)
    segment.add(LABELS, VECTORS)
    before = segment.bytes_memory
    segment.remove(LABELS[:-10])
    assert segment.bytes_memory <= before - 2 * BLOCK * DIM * 4
    labels, vectors = segment.take(10)
    assert len(segment) == 0
    np.testing.assert_array_equal(vectors, VECTORS[labels - 1])
