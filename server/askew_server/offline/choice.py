"""Which codec a gallery gets: the smallest codes that still find what the vectors find, by measurement."""

from __future__ import annotations

import numpy as np

from askew_server.index.types import Labels, Vectors
from askew_server.offline.codecs import Codec, int8_codec, train_codec
from askew_server.offline.recall import QUERIES, RecallMeter

INT8_BELOW = 2_000
"""A gallery with fewer items gets "int8": its codes are small in sum, and too few vectors train no codebooks."""
SIZES = (64, 96, 128, 192, 256, 320, 384, 512)
"""The sizes of "product" codes that are tried, in bytes."""
TARGET_RECALL = 0.95
SAMPLE = 20_000
"""On how many items sizes are compared, at most."""

_ROWS_AT_ONCE = 4_096


def choose_codec(items: int, labels: Labels, sample: Vectors, size: int | None) -> Codec:
    """The codec for a gallery of `items` items. `sample`: vectors of some of them, float32 [n, D], with their labels.

    `size`: the bytes of a code where an administrator has chosen them. Raises EngineMissing.
    """
    dim = sample.shape[1]
    if not len(sample):
        return int8_codec(dim)
    if size is not None:
        return train_codec(sample, min(size, dim))
    if items < INT8_BELOW:
        return int8_codec(dim)
    sizes = [each for each in SIZES if each <= dim]
    best = int8_codec(dim)
    low, high = 0, len(sizes)
    # Recall rises with the size. Every comparison costs a training, so the range is halved.
    while low < high:
        middle = (low + high) // 2
        codec = train_codec(sample, sizes[middle])
        if sample_recall(codec, labels, sample) >= TARGET_RECALL:
            best, high = codec, middle
        else:
            low = middle + 1
    return best


def next_larger(codec: Codec, sample: Vectors) -> Codec | None:
    """The codec to try where this one misses the target on the whole gallery; None if there is no larger one."""
    if codec.described.kind == "int8":
        return None
    larger = [size for size in SIZES if codec.described.bytes < size <= codec.codes.dim]
    return train_codec(sample, larger[0]) if larger else int8_codec(codec.codes.dim)


def sample_recall(codec: Codec, labels: Labels, sample: Vectors) -> float:
    """The recall of a codec among the vectors of a sample, float32 [n, D]; 1 if there is nothing to find."""
    chosen = query_rows(len(sample))
    meter = RecallMeter(labels[chosen], sample[chosen])
    for start in range(0, len(sample), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        codes, scales = codec.encode(sample[part])
        meter.see(labels[part], sample[part], codec, codes, scales)
    recall = meter.recall()
    return 1.0 if recall is None else recall.value


def query_rows(count: int) -> Labels:
    """The rows, evenly spread over `count`, that are searched with: int64, at most QUERIES."""
    return np.unique(np.linspace(0, max(0, count - 1), min(QUERIES, count)).astype(np.int64))
