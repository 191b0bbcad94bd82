"""The scale of a box of a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_client.errors import PhotoError
from askew_training.data.crops import Crop, check_side, corners, cut, longest_side


@pytest.mark.parametrize(
    ("cut_shape", "photo_shape", "photo_size", "expected"),
    [
        ((512, 400, 3), (1024, 768, 3), 1024, 512),  # The photo has the encoder's size.
        ((512, 400, 3), (2048, 1536, 3), 1024, 256),
        ((400, 512, 3), (768, 1024, 3), 362, 181),
        ((922, 512), (1024, 768), 512, 461),
        ((100, 50), (640, 480), 1024, 100),  # Never enlarged.
        ((333, 100), (1000, 700), 500, 167),  # 166.5: rounded half up, as encoders do.
        ((1, 1), (4000, 3000), 100, 1),
    ],
)
def test_a_cut_has_the_scale_of_its_photo(
    cut_shape: tuple[int, ...], photo_shape: tuple[int, ...], photo_size: int, expected: int
) -> None:
    assert longest_side(cut_shape, photo_shape, photo_size) == expected


def test_corners_are_rounded_as_pillow_does() -> None:
    assert corners((136.5, 34.1, 648.5, 955.7)) == (136, 34, 648, 956)
    assert corners((0.5, 1.5, 2.51, 3.49)) == (0, 2, 3, 3)


def test_a_box_that_ends_a_pixel_outside_is_cut_to_its_photo() -> None:
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    np.testing.assert_array_equal(cut(pixels, Crop(Path("a.jpg"), (-0.7, 2, 10.9, 13))), pixels[2:])
    with pytest.raises(PhotoError, match=r"a\.jpg has 10 × 12 px"):
        cut(pixels, Crop(Path("a.jpg"), (0, 0, 12, 12)))


def test_a_cut_that_becomes_too_thin_is_named() -> None:
    pixels = np.zeros((60, 400, 3), dtype=np.uint8)
    check_side(pixels, Crop(Path("a.jpg"), (0, 0, 400, 60)), 400)
    with pytest.raises(PhotoError, match=r"becomes 200 × 30 px"):
        check_side(pixels, Crop(Path("a.jpg"), (0, 0, 400, 60)), 200)
