"""Whitening learned from pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_training.errors import DataError
from askew_training.heads import (
    Whitening,
    learn_whitening_of_pairs,
    pairs_of,
)
from askew_training.heads.pair_whitening import MATES_OF_A_PHOTO
from tests.support.paths import TRAINING_FIXTURES

FIXTURES = TRAINING_FIXTURES


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    """Computed by the published code: vectors in columns, pairs, and Gram matrices of the whitened unit vectors."""
    return dict(np.load(FIXTURES / "whitening.npz"))


@pytest.mark.parametrize(("dim", "gram"), [(16, "whiten_gram"), (8, "whiten_gram_d8")])
def test_pairs_give_the_whitening_of_the_published_code(official, dim, gram):
    vectors = official["whiten_X"].T
    whitening = learn_whitening_of_pairs(vectors, official["whiten_q"], official["whiten_p"], dim)
    whitened = whitening.apply(vectors)
    np.testing.assert_allclose(whitened[:12] @ whitened.T, official[gram], atol=2e-5)
    mean = vectors[official["whiten_q"]].mean(0)
    np.testing.assert_allclose(mean, official["whiten_m"][:, 0], atol=1e-12)
    np.testing.assert_allclose(whitening.weight @ mean + whitening.bias, 0, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(2, 9), shrinkage=st.sampled_from([0.0, 0.3]))
def test_differences_within_pairs_become_isotropic(seed, channels, shrinkage):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((12 * channels, channels)) @ random.standard_normal((channels, channels))
    queries = np.arange(0, len(vectors), 2)
    whitening = learn_whitening_of_pairs(vectors, queries, queries + 1, channels, shrinkage)
    mapped = vectors @ whitening.weight.T.astype(np.float64) + whitening.bias
    differences = mapped[queries] - mapped[queries + 1]
    covariance = differences.T @ differences / len(queries)
    if not shrinkage:
        np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(channels), atol=2e-2)
    scatter = mapped.T @ mapped / len(mapped)
    spreads = np.diag(scatter)
    assert np.abs(scatter - np.diag(spreads)).max() < 1e-3
    assert spreads.sum() == pytest.approx(1, rel=1e-3)
    assert (np.diff(spreads) <= 1e-5).all()


def test_a_whitening_of_fewer_dimensions_equals_a_truncated_one(official):
    vectors = official["whiten_X"].T.astype(np.float32)
    rows = official["whiten_q"], official["whiten_p"]
    whole, part = (learn_whitening_of_pairs(vectors, *rows, dim) for dim in (16, 5))
    np.testing.assert_allclose(whole.truncated(5).apply(vectors), part.apply(vectors), atol=1e-5)
    assert Whitening.of_layer(whole.truncated(3).as_layer()).weight.shape == (3, 16)
    for dim in (0, 17):
        with pytest.raises(DataError, match="1 to 16 dimensions"):
            whole.truncated(dim)


def test_too_few_pairs_or_photos_for_the_dimensions_are_refused_with_what_to_do():
    vectors = np.random.default_rng(0).standard_normal((40, 20)).astype(np.float32)
    queries, positives = np.array([0, 1]), np.array([2, 3])
    with pytest.raises(DataError, match=r"without shrinkage needs 20 pairs or more, got 2.*a shrinkage of 0\.5"):
        learn_whitening_of_pairs(vectors, queries, positives, 20)
    assert np.isfinite(learn_whitening_of_pairs(vectors, queries, positives, 20, 0.5).apply(vectors)).all()
    # A singular covariance that is raised until it can be factorised, as in the published code: 2 pairs, 2 dimensions.
    assert np.isfinite(learn_whitening_of_pairs(vectors, queries, positives, 2).apply(vectors)).all()
    with pytest.raises(DataError, match="needs more than 12 photos, got 9"):
        learn_whitening_of_pairs(vectors[:9], queries, positives, 12, 0.5)
    vectors[:, 15:] = 0.25
    with pytest.raises(DataError, match="vary in 15 dimensions, fewer than 20"):
        learn_whitening_of_pairs(vectors, queries, positives, 20, 0.5)


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=60))
def test_pairs_show_the_same_and_occur_once(instances):
    several = [name for name in "abc" if instances.count(name) > 1]
    if not several:
        with pytest.raises(DataError, match="No two photos show the same"):
            pairs_of(instances)
        return
    queries, positives = pairs_of(instances)
    assert all(instances[q] == instances[p] != "" and q != p for q, p in zip(queries, positives, strict=True))
    assert len(set(zip(queries, positives, strict=True))) == len(queries)
    for name in several:
        times = {list(queries).count(row) for row, other in enumerate(instances) if other == name}
        assert len(times) == 1
        assert 1 <= times.pop() <= MATES_OF_A_PHOTO


def test_pairs_that_teach_nothing_are_refused(official):
    vectors, queries = official["whiten_X"].T, official["whiten_q"]
    with pytest.raises(DataError, match="have equal vectors"):
        learn_whitening_of_pairs(vectors, queries, queries, 4)
    with pytest.raises(DataError, match="one or more pairs"):
        learn_whitening_of_pairs(vectors, queries, queries[:-1], 4)
    with pytest.raises(DataError, match="1 to 16 dimensions"):
        learn_whitening_of_pairs(vectors, queries, official["whiten_p"], 17)
    with pytest.raises(DataError, match="shrinkage from 0"):
        learn_whitening_of_pairs(vectors, queries, official["whiten_p"], 4, 1.0)
    with pytest.raises(DataError, match="NaN"):
        learn_whitening_of_pairs(vectors * np.nan, queries, official["whiten_p"], 4)
