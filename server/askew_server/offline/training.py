"""Train the codec "product" on a gallery: more bytes for the dimensions in which its vectors differ.

The dimensions are not turned into another basis: a rotation of D × D values would be the largest part of most packs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_client.offline.codes import ProductCodes
from askew_client.offline.layout import CODEBOOK
from askew_server.index.kmeans import centroids_of
from askew_server.index.types import Vectors
from askew_server.offline.codecs import Codec

TRAINING_VECTORS = 10_000
"""How many vectors codebooks are trained on at most: 39 for each of 256 centroids."""

_CENTROIDS = 256
_MOST_BITS = 7.0
_LEAST = 1e-12
_HALVINGS = 100

Float64 = NDArray[np.float64]


def train_codec(vectors: Vectors, size: int) -> Codec:
    """A codec "product" of `size` bytes, at most D, trained on vectors, float32 [n, D], n > 0; some are drawn of many.

    The same vectors give the same codec. Raises EngineMissing.
    """
    if len(vectors) > TRAINING_VECTORS:
        rows = np.linspace(0, len(vectors) - 1, TRAINING_VECTORS).astype(np.int64)
        vectors = vectors[rows]
    weights = weights_of(vectors)
    rates = rates_of(np.maximum(vectors.var(axis=0, dtype=np.float64), _LEAST) * weights, 8 * size)
    order = np.argsort(-rates, kind="stable")
    starts = starts_of(rates[order], size)
    root = np.sqrt(weights).astype(np.float32)
    values = []
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        dimensions = order[begin:end]
        book = centroids_of(np.ascontiguousarray(vectors[:, dimensions] * root[dimensions]), _CENTROIDS)
        values.append((book / root[dimensions]).astype(CODEBOOK).astype(np.float32).ravel())
    codes = ProductCodes(order.astype(np.int64), starts, np.concatenate(values))
    return Codec(codes, weights.astype(np.float32))


def weights_of(vectors: Vectors) -> Float64:
    """How much an error of each dimension counts, float64 [D]: the mean square of its values, for queries are alike."""
    squares = np.einsum("nd,nd->d", vectors, vectors, dtype=np.float64) / len(vectors)
    weights: Float64 = np.maximum(squares, _LEAST)
    return weights


def rates_of(importance: Float64, bits: float) -> Float64:
    """How many bits each dimension gets, float64 [D], by reverse water-filling; `bits` in sum, where D allows it.

    A dimension of importance u gets ½ log2(u / θ) bits, between 0 and 7. See Cover and Thomas, "Elements of Information
    Theory", section 10.3.3.
    """
    logs = 0.5 * np.log2(importance)
    low, high = float(logs.min()) - _MOST_BITS - 1.0, float(logs.max())
    for _ in range(_HALVINGS):
        level = (low + high) / 2
        if np.clip(logs - level, 0, _MOST_BITS).sum() > bits:
            low = level
        else:
            high = level
    rates: Float64 = np.clip(logs - low, 0, _MOST_BITS)
    return rates


def starts_of(falling: Float64, size: int) -> NDArray[np.int64]:
    """Cut dimensions of these falling rates into `size` parts of equal rate, at least one dimension each.

    Returns int64 [size + 1], rising from 0 to D.
    """
    dim = len(falling)
    share = np.cumsum(falling) / max(float(falling.sum()), _LEAST)
    byte = np.minimum(np.floor(share * size - 1e-9), size - 1)
    starts = np.searchsorted(byte, np.arange(size)).astype(np.int64)
    numbers = np.arange(size)
    # An empty part takes a dimension of the next one, and the last ones of the parts before them.
    starts[0] = 0
    starts = np.maximum.accumulate(starts - numbers) + numbers
    starts = np.minimum(starts, dim - size + numbers)
    return np.append(starts, dim)
