from __future__ import annotations

import numpy as np
import pytest

from askew_training.evaluate.alignment.distributions import BINS, distribution_of
from askew_training.evaluate.alignment.lost_queries import lost_most
from tests.support.training_helpers import unit_vectors
from tests.training.evaluate.measurements import measurement


def test_scores_fall_into_the_bins_of_matches_and_of_non_matches() -> None:
    query = np.array([[1, 0]], np.float32)
    gallery = np.array([[1, 0], [0.5, 0.75**0.5], [0, 1], [-1, 0], [0, -1], [np.nan, 0]], np.float32)
    found = distribution_of(query, gallery, np.array([[1, 0, 1, 0, -1, 1]], np.int8))
    assert (found.matches.sum(), found.non_matches.sum()) == (2, 2)
    assert np.flatnonzero(found.matches).tolist() == [BINS // 2, BINS - 1]
    assert np.flatnonzero(found.non_matches).tolist() == [0, 75]
    assert found.mean_match == pytest.approx(0.5)
    assert found.mean_non_match == pytest.approx(-0.25)
    # Of the four pairs of a match and a non-match, 0 < 0.5 alone is wrong.
    assert found.separation == pytest.approx(3 / 4)


def test_equal_scores_separate_as_chance_does() -> None:
    query = np.array([[1, 0], [1, 0]], np.float32)
    gallery = np.array([[0, 1], [0, -1]], np.float32)
    found = distribution_of(query, gallery, np.array([[1, 0], [0, 0]], np.int8))
    # The second query has no match, and no say.
    assert found.separation == 0.5


def test_without_matches_there_is_no_mean_and_no_separation() -> None:
    found = distribution_of(unit_vectors(2, 4, 1), unit_vectors(3, 4, 2), np.zeros((2, 3), np.int8))
    assert (found.mean_match, found.separation) == (None, None)
    assert found.non_matches.sum() == 6


def test_a_small_memory_changes_nothing() -> None:
    queries, gallery = unit_vectors(9, 8, 1), unit_vectors(20, 8, 2)
    relevance = np.random.default_rng(0).integers(-1, 2, (9, 20)).astype(np.int8)
    small, large = (distribution_of(queries, gallery, relevance, size) for size in (1, 1 << 20))
    np.testing.assert_array_equal(small.matches, large.matches)
    np.testing.assert_array_equal(small.non_matches, large.non_matches)
    assert small.separation == pytest.approx(large.separation)


def test_the_queries_that_lost_most_come_first() -> None:
    teacher = measurement({"arch": [0.9, 0.8, None], "tower": [0.7, 0.2]}, queries="teacher")
    student = measurement({"arch": [0.5, 0.8, None], "tower": [0.1, 0.4]})
    found = lost_most(student, teacher)
    assert [(each.query.id, each.teacher, each.student) for each in found] == [
        ("tower/0.jpg", 0.7, 0.1),
        ("arch/0.jpg", 0.9, 0.5),
    ]
    assert len(lost_most(student, teacher, limit=1)) == 1
