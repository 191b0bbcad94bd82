"""Which codec a gallery gets: the smallest codes that still find what the vectors find, by measurement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from askew_client.offline.layout import codec_size
from askew_server.index.types import Labels, Vectors
from askew_server.offline.codecs import Codec, int8_codec
from askew_server.offline.training import train_codec

INT8_BELOW = 2_000
"""A gallery with fewer items gets "int8": its codes are small in sum, and too few vectors train no codebooks."""
SIZES = (64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768)
"""The sizes of "product" codes that are tried, in bytes."""
TARGET_RECALL = 0.95
MOST_MEASURED = 100_000
"""On how many items sizes are compared, at most: recall falls with the number of items."""

Measure = Callable[[Codec], float]
"""measure(codec): its recall in the gallery."""


def choose_codec(items: int, sample: Vectors, size: int | None, measure: Measure) -> Codec:
    """The codec for a gallery of `items` items. `sample`: vectors of some of them, float32 [n, D].

    `size`: the bytes of a code where an administrator has chosen them. Raises EngineMissing, and what `measure` raises.
    """
    dim = sample.shape[1]
    if not len(sample):
        return int8_codec(dim)
    if size is not None:
        return train_codec(sample, min(size, dim))
    # Codebooks are part of the pack: where they outweigh what the codes save, the better codes are the smaller ones, too.
    sizes = [each for each in SIZES if each < dim and _bytes_in_sum(items, each, dim) < items * dim]
    if items < INT8_BELOW or not sizes:
        return int8_codec(dim)
    best = None
    low, high = 0, len(sizes)
    # Recall rises with the size. Every comparison costs a training, so the range is halved.
    while low < high:
        middle = (low + high) // 2
        codec = train_codec(sample, sizes[middle])
        if measure(codec) >= TARGET_RECALL or middle == len(sizes) - 1:
            best, high = codec, middle
        else:
            low = middle + 1
    assert best is not None
    return best


def spread_rows(count: int, most: int) -> Labels:
    """Up to `most` rows, int64, evenly spread over `count`."""
    return np.unique(np.linspace(0, max(0, count - 1), min(most, count)).astype(np.int64))


def _bytes_in_sum(items: int, size: int, dim: int) -> int:
    return items * size + codec_size("product", size, dim)
