"""PCA whitening."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from askew_training.errors import DataError
from askew_training.heads import (
    learn_whitening,
)
from tests.support.paths import TRAINING_FIXTURES

FIXTURES = TRAINING_FIXTURES


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    mixed = random.standard_normal((500, 12)) @ np.diag(np.geomspace(3, 0.05, 12)) @ random.standard_normal((12, 12))
    return (mixed + random.standard_normal(12)).astype(np.float32)


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    """Computed by the published code: vectors in columns, pairs, and Gram matrices of the whitened unit vectors."""
    return dict(np.load(FIXTURES / "whitening.npz"))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(30, 5), (6, 40), (9, 1)])
def test_the_map_is_that_of_a_singular_value_decomposition(shape, power):
    few = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    few = np.concatenate([few, few])  # Every photo twice: its rank is at most that of half of them.
    dim = min(shape[0] - 1, shape[1], 4)
    centred = few - few.mean(0, dtype=np.float64)
    _, spreads, axes = np.linalg.svd(centred / np.sqrt(len(few)), full_matrices=False)
    expected = (centred @ axes[:dim].T) * spreads[:dim] ** -power
    expected /= np.sqrt((expected**2).sum(1).mean())
    whitening = learn_whitening(few, dim, power)
    np.testing.assert_allclose(np.abs(few @ whitening.weight.T + whitening.bias), np.abs(expected), atol=2e-5)


@pytest.mark.parametrize("count", range(2, 12))
def test_equal_photos_vary_in_no_dimension(count):
    one = np.random.default_rng(count).standard_normal(24)
    equal = np.repeat((one / np.linalg.norm(one)).astype(np.float32)[None], count, axis=0)
    with pytest.raises(DataError, match="The photos vary in fewer than 1 dimension"):
        learn_whitening(equal, 1, 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(vectors, value):
    broken = vectors.copy()
    broken[3, 2] = value
    with pytest.raises(DataError, match="Expected finite vectors"):
        learn_whitening(broken, 4, 0.5)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_components_are_centred_uncorrelated_and_scaled_by_the_power(vectors, power):
    whitening = learn_whitening(vectors, 12, power)
    mapped = vectors.astype(np.float64) @ whitening.weight.T + whitening.bias
    covariance = np.cov(mapped.T, bias=True)
    plain = np.diag(np.cov((vectors @ learn_whitening(vectors, 12, 0.0).weight.T).T, bias=True))
    expected = plain ** (1 - power)
    assert np.abs(mapped.mean(0)).max() < 1e-4
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-4
    np.testing.assert_allclose(np.diag(covariance) / covariance[0, 0], expected / expected[0], rtol=1e-3)
    assert np.trace(covariance) == pytest.approx(1.0, rel=1e-4)


def test_fewer_dimensions_are_the_first_of_all(vectors):
    whole, part = learn_whitening(vectors, 12, 0.5), learn_whitening(vectors, 5, 0.5)
    ratio = part.weight / whole.weight[:5]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert part.weight.shape == (5, 12)


def test_its_layer_computes_the_same(vectors):
    whitening = learn_whitening(vectors, 7, 0.75)
    with torch.inference_mode():
        mapped = whitening.as_layer()(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(
        mapped / np.linalg.norm(mapped, axis=1, keepdims=True), whitening.apply(vectors), atol=1e-5
    )


@pytest.mark.parametrize(
    ("dim", "power", "message"),
    [(13, 0.5, "1 to 12 dimensions"), (0, 0.5, "1 to 12"), (12, 1.5, "power from 0 to 1"), (12, -1, "power")],
)
def test_impossible_requests_are_refused(vectors, dim, power, message):
    with pytest.raises(DataError, match=message):
        learn_whitening(vectors, dim, power)


def test_too_few_photos_or_too_alike_are_refused(vectors):
    with pytest.raises(DataError, match="more than 12 photos"):
        learn_whitening(vectors[:12], 12, 0.5)
    flat = vectors.copy()
    flat[:, 3:] = 1
    with pytest.raises(DataError, match="fewer than 12 dimensions"):
        learn_whitening(flat, 12, 0.5)


def test_full_pca_whitening_is_that_of_the_published_code(official):
    vectors = official["whiten_X"].T
    whitened = learn_whitening(vectors, 8, 1.0).apply(vectors)
    np.testing.assert_allclose(whitened[:12] @ whitened.T, official["pcawhiten_gram_d8"], atol=2e-5)
