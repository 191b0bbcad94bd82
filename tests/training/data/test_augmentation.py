"""Random changes to photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_training.data.augmentation import Augmentation, augment, cut
from askew_training.data.batches import batch_shape

ALL = Augmentation(smallest_crop=0.4, perspective=0.2, colour=0.4, blur=1.0, glare=1.0)


NONE = Augmentation(smallest_crop=1.0, perspective=0.0, colour=0.0, blur=0.0, glare=0.0)


def test_cutting_keeps_the_middle_and_stretches_nothing():
    photo = np.zeros((100, 200, 3), dtype=np.uint8)
    photo[:, 100:] = 255
    assert np.array_equal(cut(photo, (100, 200)), photo)
    smaller = cut(photo, (50, 50))
    assert smaller.shape == (50, 50, 3)
    assert smaller[:, :20].max() == 0 and smaller[:, 30:].min() == 255
    square = np.kron(np.eye(2, dtype=np.uint8)[..., None] * 255, np.ones((60, 60, 3), dtype=np.uint8))
    assert abs(cut(square, (60, 43)).mean() - 127.5) < 3


@pytest.mark.slow
@given(st.integers(32, 200), st.integers(32, 200), st.integers(0, 99))
def test_an_augmented_photo_has_its_shape_and_depends_only_on_the_random_numbers(height, width, seed):
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = photo.copy()
    shape = batch_shape(height, width, 96)
    first, again = (augment(photo, shape, ALL, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (*shape, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(photo, before)
    assert np.array_equal(augment(photo, shape, NONE, np.random.default_rng(seed)), cut(photo, shape))


def test_a_crop_without_tilt_is_not_distorted():
    """A slope from left to right stays one, as steep as the crop is enlarged: at most 1/√0.4 in each direction."""
    photo = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (150, 200, 3)).copy()
    how = Augmentation(smallest_crop=0.4, perspective=0.0, colour=0.0, blur=0.0, glare=0.0)
    for seed in range(20):
        seen = augment(photo, (150, 200), how, np.random.default_rng(seed)).astype(float)
        slope = (seen[:, 150].mean() - seen[:, 50].mean()) / 100
        assert 0.4**0.5 - 0.03 < slope < 1.03
        assert seen.std(axis=0).max() < 1.0
