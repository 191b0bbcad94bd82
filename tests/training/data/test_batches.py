"""Which photos a step sees."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_training.data.batches import InstancePlan, PhotoPlan, batch_shape, few_shapes, nearest_shape
from askew_training.errors import DataError

SHAPES = [(64, 96), (96, 64), (64, 64)]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 5))
def test_every_photo_is_drawn_once_in_an_epoch(count, size, epoch):
    plan = PhotoPlan([SHAPES[i % 3] for i in range(count)], size, seed=3)
    batches = plan.epoch(epoch)
    assert sorted(draw.photo for batch in batches for draw in batch) == list(range(count))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert len(batches) == -(-count // size)
    assert plan.epoch(epoch) == batches


def test_batches_of_photos_have_one_shape_except_for_the_remainders():
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


def test_batches_by_instance_have_the_stated_groups_and_views():
    for batch in plan().epoch(0):
        labelled = Counter(OWNER[draw.photo] for draw in batch if draw.photo in OWNER)
        assert sum(labelled.values()) == 6 and all(count % 3 == 0 for count in labelled.values())
        unlabelled = Counter(draw.photo for draw in batch if draw.photo > 9)
        assert sorted(unlabelled.values()) == [2, 2]
        assert len(set(batch)) == len(batch) == 10
    assert plan().epoch(4) == plan().epoch(4) != plan().epoch(5)


def test_every_labelled_photo_is_drawn_before_any_is_drawn_again():
    # Two groups of a (four photos), one of b and one of c: two batches hold them all.
    for number in range(3):
        drawn = {draw.photo for batch in plan().epoch(0)[2 * number : 2 * number + 2] for draw in batch}
        assert drawn >= set(OWNER)
    assert 9 not in {draw.photo for batch in plan().epoch(0) for draw in batch}


@given(st.lists(st.integers(2, 9), min_size=2, max_size=6), st.integers(2, 4), st.integers(0, 99))
def test_photos_of_a_group_differ_if_the_instance_has_enough(sizes, each, seed):
    numbers = iter(range(sum(sizes)))
    photos = {str(i): [next(numbers) for _ in range(size)] for i, size in enumerate(sizes)}
    settings = {"unlabelled_each_batch": 0, "views": 1, "batches_each_epoch": 5, "seed": seed}
    for batch in InstancePlan(photos, [], instances=1, photos_each=each, **settings).epoch(0):
        of = next(each for each in photos.values() if batch[0].photo in each)
        assert all(draw.photo in of for draw in batch)
        assert len({draw.photo for draw in batch}) == min(each, len(of))


def test_too_few_instances_or_unlabelled_photos_are_refused():
    with pytest.raises(DataError, match=r"takes 5 groups, but the 3 instances .* make 4"):
        plan(instances=5)
    with pytest.raises(DataError, match="takes 5 unlabelled photos, but there are 3"):
        plan(unlabelled_each_batch=5)


@given(st.integers(33, 900), st.integers(33, 900))
def test_a_shape_keeps_the_aspect_ratio_up_to_the_cropped_margin(height, width):
    shape = batch_shape(height, width, 224)
    assert max(shape) <= 224 and min(shape) >= 32
    if 2 / 3 <= height / width <= 3 / 2 and 40 <= max(height, width) <= 224:
        # What covers the shape, as a share of the photo.
        seen = min(height / width, shape[0] / shape[1]) / max(height / width, shape[0] / shape[1])
        assert seen > 0.82


@given(st.lists(st.tuples(st.integers(33, 900), st.integers(33, 900)), min_size=1, max_size=30), st.integers(96, 500))
def test_any_photos_get_at_most_seven_shapes_alone_or_together(photos, photo_size):
    allowed = few_shapes(photo_size)
    assert len(set(allowed)) <= 7 and all(max(shape) <= photo_size for shape in allowed)
    assert {nearest_shape([photo], allowed) for photo in photos} <= set(allowed)
    assert nearest_shape(photos, allowed) in allowed


def test_the_nearest_shape_is_the_photos_own():
    allowed = few_shapes(362)
    assert nearest_shape([(272, 362)], allowed) == (257, 362)
    assert nearest_shape([(362, 272)], allowed) == (362, 257)
    assert nearest_shape([(180, 256)], allowed) == (182, 256)
    assert nearest_shape([(150, 150)], allowed) == (181, 181)
    # A landscape and an upright photo in one batch are both cut to a square.
    assert nearest_shape([(272, 362), (362, 272)], allowed) == (362, 362)
