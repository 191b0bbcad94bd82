"""Shrinking photos in training exactly as the encoder's own graph does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client.encoding.photos import shrunk_size


def shrink(photo: NDArray[np.uint8], photo_size: int) -> NDArray[np.uint8]:
    """Shrink uint8 [H, W, 3] so that its longest side is `photo_size`, by the size rule; never enlarge.

    Pillow's BILINEAR is the antialiased linear filter of the graph, to within 0.1 grey levels on average.
    """
    height, width = shrunk_size(photo.shape[0], photo.shape[1], photo_size)
    if (height, width) == photo.shape[:2]:
        return photo
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
