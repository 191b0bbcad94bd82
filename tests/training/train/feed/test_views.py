"""Views that torch computes in batches, compared with those that Pillow computes one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from askew_training.data.augmentation import Augmentation, View, draw_view, show
from askew_training.train.feed.views import PackedPhotos, ViewBatch, compute_views
from tests.support.training_helpers import picture

SIDES = ((90, 120), (120, 90), (100, 100), (64, 130))
PHOTOS = [picture(*sides, seed=number) for number, sides in enumerate(SIDES)]
SHAPE = (71, 100)


def drawn(settings: Augmentation, seed: int) -> list[View]:
    return [
        draw_view(sides, SHAPE, settings, np.random.default_rng((seed, number))) for number, sides in enumerate(SIDES)
    ]


@pytest.mark.parametrize(
    ("settings", "mean", "most"),
    [
        (Augmentation(0.4, 0.2, 0.0, 0.0, 0.0), 0.6, 2),
        (Augmentation(0.4, 0.2, 0.4, 0.0, 0.0), 2.5, 8),
        (Augmentation(0.4, 0.2, 0.0, 0.0, 1.0), 1.0, 14),
        # Pillow approximates a blur by three boxes.
        (Augmentation(0.4, 0.2, 0.0, 1.0, 0.0), 2.0, 60),
    ],
    ids=["crop and tilt", "colour", "glare", "blur"],
)
def test_a_batch_of_views_shows_what_pillow_shows(settings: Augmentation, mean: float, most: int) -> None:
    packed = PackedPhotos.of(PHOTOS)
    for seed in range(3):
        views = drawn(settings, seed)
        computed = compute_views(packed.pixels, ViewBatch.of(views, packed.places, SHAPE)).numpy()
        exact = np.stack([show(photo, SHAPE, view) for photo, view in zip(PHOTOS, views, strict=True)])
        difference = np.abs(computed.astype(int) - exact.astype(int))
        assert computed.shape == exact.shape and computed.dtype == np.uint8
        assert difference.mean() < mean and difference.max() <= most


def test_a_view_does_not_depend_on_the_others_of_its_batch() -> None:
    packed = PackedPhotos.of(PHOTOS)
    views = drawn(Augmentation(0.4, 0.2, 0.4, 0.5, 0.5), 1)
    together = compute_views(packed.pixels, ViewBatch.of(views, packed.places, SHAPE))
    for place, view in enumerate(views):
        alone = compute_views(packed.pixels, ViewBatch.of([view], packed.places[place : place + 1], SHAPE))
        assert torch.equal(alone[0], together[place])


def test_a_view_that_changes_nothing_is_the_middle_of_the_photo() -> None:
    packed = PackedPhotos.of(PHOTOS)
    computed = compute_views(packed.pixels, ViewBatch.of([View()], packed.places[:1], SIDES[0]))
    assert np.array_equal(computed[0].numpy(), PHOTOS[0])
