"""Views to learn from."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from askew_training.quantise.views import random_views, read_photos
from tests.support.training_helpers import picture

PHOTOS = [picture(60, 80), picture(80, 60), picture(70, 70), picture(200, 50)]


def test_views_have_three_shapes_and_are_the_same_each_time() -> None:
    views = list(islice(random_views(PHOTOS, 64, 3, seed=1), 20))
    assert {tuple(each.shape) for each in views} == {(3, 48, 64, 3), (3, 64, 48, 3), (3, 64, 64, 3)}
    again = list(islice(random_views(PHOTOS, 64, 3, seed=1), 20))
    assert all(torch.equal(*pair) for pair in zip(views, again, strict=True))
    assert len({each.numpy().tobytes() for each in views}) == 20


def test_photos_are_shrunk_and_unreadable_ones_named(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.png", tmp_path / "broken.jpg"
    Image.fromarray(picture(300, 200)).save(good)
    broken.write_bytes(b"no photo")
    seen: dict[str, str | None] = {}
    photos = read_photos([broken, good], 100, lambda path, sentence: seen.update({path.name: sentence}))
    assert [photo.shape for photo in photos] == [(120, 80, 3)]
    assert photos[0].dtype == np.uint8
    assert seen["good.png"] is None and "broken.jpg" in (seen["broken.jpg"] or "")
