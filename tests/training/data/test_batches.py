"""What a step sees, and that it does not depend on what came before."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_training.data.augmentation import Augmentation, augmented, cut
from askew_training.data.batches import InstancePlan, PhotoPlan, batch_shape
from askew_training.errors import DataError

SHAPES = [(64, 96), (96, 64), (64, 64)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 5))
def test_every_photo_comes_once_in_an_epoch(count, size, epoch):
    plan = PhotoPlan([SHAPES[i % 3] for i in range(count)], size, seed=3)
    batches = plan.epoch(epoch)
    assert sorted(draw.photo for batch in batches for draw in batch) == list(range(count))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert len(batches) == -(-count // size)
    assert plan.epoch(epoch) == batches


def test_batches_of_photos_have_one_shape_but_for_the_last_of_each():
    shapes = [SHAPES[i % 3] for i in range(3 * 40)]
    mixed = [b for b in PhotoPlan(shapes, 8, 0).epoch(0) if len({shapes[draw.photo] for draw in b}) > 1]
    assert not mixed
    assert PhotoPlan(shapes, 8, 0).epoch(0) != PhotoPlan(shapes, 8, 0).epoch(1)
    assert PhotoPlan(shapes, 8, 0).epoch(0) != PhotoPlan(shapes, 8, 1).epoch(0)


def plan(**changes):
    settings = {"instances": 2, "photos_each": 3, "unlabelled_each_batch": 2, "views": 2}
    settings |= {"batches_each_epoch": 6, "seed": 0}
    photos = {"a": [0, 1, 2, 3], "b": [4, 5], "c": [6, 7, 8], "single": [9]}
    return InstancePlan(photos, [10, 11, 12], **{**settings, **changes})


OWNER = {**dict.fromkeys(range(4), "a"), 4: "b", 5: "b", **dict.fromkeys((6, 7, 8), "c")}


def test_batches_by_instance_hold_what_was_asked_for():
    for batch in plan().epoch(0):
        labelled = Counter(OWNER[draw.photo] for draw in batch if draw.photo in OWNER)
        assert sum(labelled.values()) == 6 and all(count % 3 == 0 for count in labelled.values())
        unlabelled = Counter(draw.photo for draw in batch if draw.photo > 9)
        assert sorted(unlabelled.values()) == [2, 2]
        assert len(set(batch)) == len(batch) == 10
    assert plan().epoch(4) == plan().epoch(4) != plan().epoch(5)


def test_every_labelled_photo_comes_before_any_comes_again():
    # Two groups of a (four photos), one of b and one of c: two batches hold them all.
    for number in range(3):
        drawn = {draw.photo for batch in plan().epoch(0)[2 * number : 2 * number + 2] for draw in batch}
        assert drawn >= set(OWNER)
    assert 9 not in {draw.photo for batch in plan().epoch(0) for draw in batch}


@given(st.lists(st.integers(2, 9), min_size=2, max_size=6), st.integers(2, 4), st.integers(0, 99))
def test_photos_of_a_group_differ_as_far_as_the_instance_has_them(sizes, each, seed):
    numbers = iter(range(sum(sizes)))
    photos = {str(i): [next(numbers) for _ in range(size)] for i, size in enumerate(sizes)}
    settings = {"unlabelled_each_batch": 0, "views": 1, "batches_each_epoch": 5, "seed": seed}
    for batch in InstancePlan(photos, [], instances=1, photos_each=each, **settings).epoch(0):
        of = next(each for each in photos.values() if batch[0].photo in each)
        assert all(draw.photo in of for draw in batch)
        assert len({draw.photo for draw in batch}) == min(each, len(of))


def test_too_few_instances_or_unlabelled_photos_are_refused():
    with pytest.raises(DataError, match=r"takes 5 groups, and 3 instances .* make 4"):
        plan(instances=5)
    with pytest.raises(DataError, match="takes 5 unlabelled photos, and there are 3"):
        plan(unlabelled_each_batch=5)


@given(st.integers(33, 900), st.integers(33, 900))
def test_a_shape_keeps_the_aspect_ratio_within_what_is_cut_off(height, width):
    shape = batch_shape(height, width, 224)
    assert max(shape) <= 224 and min(shape) >= 32
    if 2 / 3 <= height / width <= 3 / 2 and 40 <= max(height, width) <= 224:
        # What covers the shape, as a share of the photo.
        seen = min(height / width, shape[0] / shape[1]) / max(height / width, shape[0] / shape[1])
        assert seen > 0.82


def test_cutting_keeps_the_middle_and_stretches_nothing():
    photo = np.zeros((100, 200, 3), dtype=np.uint8)
    photo[:, 100:] = 255
    assert np.array_equal(cut(photo, (100, 200)), photo)
    smaller = cut(photo, (50, 50))
    assert smaller.shape == (50, 50, 3)
    assert smaller[:, :20].max() == 0 and smaller[:, 30:].min() == 255
    square = np.kron(np.eye(2, dtype=np.uint8)[..., None] * 255, np.ones((60, 60, 3), dtype=np.uint8))
    assert abs(cut(square, (60, 43)).mean() - 127.5) < 3


ALL = Augmentation(smallest_crop=0.4, perspective=0.2, colour=0.4, blur=1.0, glare=1.0)
NONE = Augmentation(smallest_crop=1.0, perspective=0.0, colour=0.0, blur=0.0, glare=0.0)


@given(st.integers(32, 200), st.integers(32, 200), st.integers(0, 99))
def test_an_augmented_photo_has_its_shape_and_depends_on_its_draw_alone(height, width, seed):
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = photo.copy()
    shape = batch_shape(height, width, 96)
    first, again = (augmented(photo, shape, ALL, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (*shape, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(photo, before)
    assert np.array_equal(augmented(photo, shape, NONE, np.random.default_rng(seed)), cut(photo, shape))


def test_a_crop_without_tilt_shows_a_part_of_the_photo_undistorted():
    """A slope from left to right stays one, as steep as the crop is enlarged: at most 1/√0.4 in each direction."""
    photo = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (150, 200, 3)).copy()
    how = Augmentation(smallest_crop=0.4, perspective=0.0, colour=0.0, blur=0.0, glare=0.0)
    for seed in range(20):
        seen = augmented(photo, (150, 200), how, np.random.default_rng(seed)).astype(float)
        slope = (seen[:, 150].mean() - seen[:, 50].mean()) / 100
        assert 0.4**0.5 - 0.03 < slope < 1.03
        assert seen.std(axis=0).max() < 1.0
