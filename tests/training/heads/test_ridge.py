"""Ridge regression of a student's layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from askew_training.errors import DataError
from askew_training.heads import (
    apply_linear,
    learn_whitening,
)
from askew_training.heads.ridge import refit_linear


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    mixed = random.standard_normal((500, 12)) @ np.diag(np.geomspace(3, 0.05, 12)) @ random.standard_normal((12, 12))
    return (mixed + random.standard_normal(12)).astype(np.float32)


def test_a_refitted_layer_corrects_differences_in_the_students_features(vectors):
    start = learn_whitening(vectors, 8, 0.5)
    targets = start.apply(vectors)
    random = np.random.default_rng(1)
    seen = (vectors @ (np.eye(12) + 0.2 * random.standard_normal((12, 12))) + 0.3).astype(np.float32)
    layer = refit_linear(start.as_layer(), seen, targets, 1e-6)
    before = (start.apply(seen) * targets).sum(1).mean()
    after = (apply_linear(layer, seen) * targets).sum(1).mean()
    assert after > before + 0.05
    kept = refit_linear(start.as_layer(), seen, targets, 1e9)
    np.testing.assert_allclose(apply_linear(kept, seen), start.apply(seen), atol=1e-5)


def test_a_refit_of_shapes_that_do_not_fit_is_refused(vectors):
    start = learn_whitening(vectors, 8, 0.5)
    with pytest.raises(DataError, match="of the same photos"):
        refit_linear(start.as_layer(), vectors, start.apply(vectors)[:-1], 1e-3)
    with pytest.raises(DataError, match="positive ridge"):
        refit_linear(start.as_layer(), vectors, start.apply(vectors), 0)


def test_a_refit_that_has_no_finite_solution_is_refused(vectors):
    start = learn_whitening(vectors, 8, 0.5).as_layer()
    targets = apply_linear(start, vectors)
    with pytest.raises(DataError, match="positive ridge, got inf"):
        refit_linear(start, vectors, targets, np.inf)
    equal = np.repeat(np.eye(12, dtype=np.float32)[:1], 3, axis=0)
    with pytest.raises(DataError, match="no single solution with a ridge of 1e-300"):
        refit_linear(start, equal, targets[:3], 1e-300)
    # A teacher whose layer maps everything to zeros gives no direction to learn.
    torch.nn.init.zeros_(start.weight)
    torch.nn.init.zeros_(start.bias)
    with pytest.raises(DataError, match="Expected finite vectors of the 500 photos"):
        refit_linear(start, vectors, apply_linear(start, vectors), 1e-3)
