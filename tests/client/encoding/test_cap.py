"""The cap rule for large photos. tests/browser/test_library.py compares it with the web client's."""

from __future__ import annotations

import numpy as np
import pytest

from askew_client.encoding.cap import cap_factor, cap_pixels
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import read_photo
from tests.support.paths import DEMO


@pytest.mark.parametrize(
    ("height", "width", "photo_size", "factor"),
    [
        (1, 1, 96, 1),
        (1_200, 1_600, 320, 1),
        (2_559, 100, 320, 1),
        (100, 2_560, 320, 2),
        (3_024, 4_032, 320, 3),
        (3_024, 4_032, 1_024, 1),
        (8_000, 8_000, 1_024, 3),
    ],
)
def test_the_factor(height: int, width: int, photo_size: int, factor: int) -> None:
    assert cap_factor(height, width, photo_size) == factor


def test_a_pixel_is_the_rounded_mean_of_its_block_and_the_rest_is_left_out() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2_561, 41, 3), dtype=np.uint8)
    capped = cap_pixels(pixels, 96)
    assert capped.shape == (1_280, 20, 3)
    for row, column in ((0, 0), (7, 19), (1_279, 3)):
        block = pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(np.float64)
        assert capped[row, column].tolist() == np.floor(block.mean(axis=(0, 1)) + 0.5).tolist()


def test_a_small_photo_is_returned_as_it_is() -> None:
    pixels = np.zeros((10, 20, 3), np.uint8)
    assert cap_pixels(pixels, 96) is pixels


def test_the_vector_of_a_capped_photo_is_nearly_the_same() -> None:
    student = Encoder(DEMO / "encoders" / "student.onnx", threads=1)
    pixels = read_photo(DEMO / "gallery" / "chichen-itza.jpg")
    factor = -(-2 * 2_560 // max(pixels.shape[:2]))
    large = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    capped = cap_pixels(large, student.manifest.photo_size)
    assert capped.shape[0] < large.shape[0]
    assert float(student.encode_pixels(large) @ student.encode_pixels(capped)) > 0.999
