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
from askew_training.heads.ridge import refit_linear, towards_instances


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


def test_targets_move_towards_the_mean_of_their_instance_and_unlabelled_ones_stay():
    random = np.random.default_rng(2)
    targets = random.standard_normal((7, 5)).astype(np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    instances = ["a", "", "a", "b", "a", "", "c"]
    assert np.array_equal(towards_instances(targets, instances, 0), targets)
    half, whole = (towards_instances(targets, instances, share) for share in (0.5, 1))
    mean = targets[[0, 2, 4]].mean(0)
    mean /= np.linalg.norm(mean)
    for row in (0, 2, 4):
        np.testing.assert_allclose(whole[row], mean, atol=1e-6)
        np.testing.assert_allclose(half[row], (targets[row] + mean) / 2, atol=1e-6)
    for row in (1, 3, 5, 6):  # Alone, or without a label.
        np.testing.assert_allclose(half[row], targets[row], atol=1e-6)


def test_photos_of_one_instance_that_cancel_out_keep_their_targets():
    targets = np.array([[1, 0], [-1, 0]], np.float32)
    assert np.array_equal(towards_instances(targets, ["a", "a"], 1), targets)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_positives_that_is_none_is_refused(share):
    with pytest.raises(DataError, match="0 to 1"):
        towards_instances(np.eye(2, dtype=np.float32), ["a", "a"], share)
