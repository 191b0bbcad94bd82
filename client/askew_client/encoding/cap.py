"""The cap rule: how phones shrink a large photo before they describe it. The web client computes the same.

A photo of 12 megapixels takes 36 MB as RGB, and an encoder looks at a few hundred pixels of each side. So a phone first
averages blocks of k × k pixels, where

    k = max(1, floor(max(H, W) / max(2 · photo_size, 1280)))

The encoder's graph still shrinks the rest by two or more. Photos below 2,560 px are not changed. Galleries are described
without this rule; docs/phone.md tells how little it changes a vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST_UNCAPPED_SIDE = 1_280


def cap_factor(height: int, width: int, photo_size: int) -> int:
    """The side k of the blocks that are averaged, in pixels; 1 for photos that are not changed."""
    return max(1, max(height, width) // max(2 * photo_size, LONGEST_UNCAPPED_SIDE))


def cap_pixels(pixels: NDArray[np.uint8], photo_size: int) -> NDArray[np.uint8]:
    """Apply the cap rule to a decoded photo, uint8 [H, W, 3] RGB: uint8 [H // k, W // k, 3].

    A mean is rounded to the nearest, halves up. Rows and columns that do not fill a block, at the bottom and on the
    right, are left out.
    """
    k = cap_factor(pixels.shape[0], pixels.shape[1], photo_size)
    if k == 1:
        return pixels
    height, width = pixels.shape[0] // k, pixels.shape[1] // k
    blocks = pixels[: height * k, : width * k].reshape(height, k, width, k, 3)
    sums = blocks.sum(axis=(1, 3), dtype=np.uint32)
    means: NDArray[np.uint8] = ((sums + k * k // 2) // (k * k)).astype(np.uint8)
    return means
