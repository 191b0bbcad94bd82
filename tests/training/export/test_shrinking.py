"""Shrinking by the filter of encoders, outside of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_client import Encoder
from askew_training.export.shrinking import shrink
from tests.support.training_helpers import picture


@pytest.mark.parametrize("shape", [(300, 401), (129, 50), (128, 128), (40, 60)])
def test_an_encoder_finds_shrunk_pixels_at_their_final_size(teacher: Path, shape: tuple[int, int]) -> None:
    """The teacher's photo size is 128."""
    pixels = picture(*shape)
    shrunk = shrink(pixels, 128)
    assert max(shrunk.shape) == min(128, max(shape))
    encoder = Encoder(teacher)
    np.testing.assert_array_equal(encoder.encode_pixels(shrunk), encoder.encode_pixels(pixels))


def test_nothing_is_enlarged() -> None:
    pixels = picture(40, 60)
    assert shrink(pixels, 61) is pixels
