"""Shrinking pixels by an encoder's own filter, outside of an encoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.runtime import open_session
from askew_training.export.preprocessing import preprocessing_graph


def shrink(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink uint8 [H, W, 3] until its longest side has `longest` pixels; smaller pixels are returned as they are.

    These are the bytes that an encoder with this photo size makes: the graph is the first part of every encoder file.
    """
    if max(pixels.shape[:2]) <= longest:
        return pixels
    session = open_session(preprocessing_graph(longest).SerializeToString())
    (shrunk,) = session.run(["pixels"], {"image": pixels[None]})
    smaller: NDArray[np.uint8] = shrunk[0]
    return smaller
