"""A box of a photo that is described instead of the whole photo: the query boxes of revisited Oxford and Paris, INSTRE and others.

The box is cut from the photo at its full resolution, and then brought to the scale that the whole photo would have at the
encoder's photo size. Without that, the encoder would leave the cut larger than what it sees of the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.photos import SHORTEST_SIDE, shrunk_size
from askew_client.errors import PhotoError

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the decoded photo, from 0; x2 and y2 are the first ones outside."""

RULE = "crop-1"
"""Names this module's rule in caches. Change it whenever the pixels of a cut change."""
BEYOND = 1
"""By how many pixels a box may reach beyond its photo: the published ones were drawn by hand and are rounded."""


@dataclass(frozen=True)
class Crop:
    """A box of a photo file."""

    path: Path
    box: Box


def corners(box: Box) -> tuple[int, int, int, int]:
    """The box in whole pixels, rounded as Pillow's `crop`, which the published code cuts with, rounds it."""
    x1, y1, x2, y2 = (round(value) for value in box)
    return x1, y1, x2, y2


def cut(pixels: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """Cut the box from its decoded photo, uint8 [H, W, 3]. Returns uint8 [h, w, 3].

    Raises PhotoError for a box that is empty or reaches beyond the photo: then it was drawn on other pixels.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = corners(crop.box)
    if x1 < -BEYOND or y1 < -BEYOND or x2 > width + BEYOND or y2 > height + BEYOND:
        raise PhotoError(
            f"{crop.path} has {width} × {height} px, and its box reaches from ({x1}, {y1}) to ({x2}, {y2}). Expected the photo "
            "that the box was drawn on: was it shrunk or rotated?"
        )
    inside = pixels[max(0, y1) : y2, max(0, x1) : x2]
    if min(inside.shape[:2]) < 1 or x2 <= x1 or y2 <= y1:
        raise PhotoError(f"{crop.path} has an empty box, from ({x1}, {y1}) to ({x2}, {y2}). Expected x1 y1 x2 y2.")
    return np.ascontiguousarray(inside)


def longest_side(cut_shape: tuple[int, ...], photo_shape: tuple[int, ...], photo_size: int) -> int:
    """The longest side that a cut must have to be at the scale of its whole photo at `photo_size`, in pixels.

    `cut_shape`, `photo_shape`: (height, width, …). It is photo_size · max(cut) / max(photo), rounded half up like the
    size rule of encoders, and never more than the cut has.
    """
    longest, whole = max(cut_shape[:2]), max(photo_shape[:2])
    return longest if whole <= photo_size else max(1, (2 * longest * photo_size + whole) // (2 * whole))


def check_side(pixels: NDArray[np.uint8], crop: Crop, longest: int) -> None:
    """Raise PhotoError if the shorter side of a cut would be under 32 px at this longest side."""
    height, width = shrunk_size(pixels.shape[0], pixels.shape[1], longest)
    if min(height, width) < SHORTEST_SIDE:
        raise PhotoError(
            f"{crop.path}: its box becomes {width} × {height} px at this encoder's photo size, and the shorter side must have "
            f"{SHORTEST_SIDE} px or more. Use an encoder with a larger photo size, or --no-crop."
        )
