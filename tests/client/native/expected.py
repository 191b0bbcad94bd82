"""What every sample must compute, by Python."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.golden import GOLDEN_SIZES, draw_golden, draw_golden_picture


def golden_digests() -> dict[str, str]:
    """The SHA-256 of the bytes of each golden picture, and of the largest self-test of the mobile parts."""
    pictures = {name: draw_golden_picture(name) for name in GOLDEN_SIZES}
    pictures["1x1"] = draw_golden(1400, 1400, 8)
    return {name: hashlib.sha256(pixels.tobytes()).hexdigest() for name, pixels in pictures.items()}


def awkward_vector() -> NDArray[np.float32]:
    """float32 values in which packing is hard: ties, subnormals, zeros of both signs, the smallest and largest."""
    random = np.random.default_rng(1)
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2
    spread = random.normal(0, 0.03, 20_000) * 10.0 ** random.integers(-6, 1, 20_000)
    vector = np.concatenate(
        [halves, ties, np.nextafter(ties, 1), np.nextafter(ties, 0), spread.astype(np.float32), [0.0]]
    )
    return np.concatenate([vector, -vector]).astype(np.float32)
