"""How the vectors of a pack are coded: training, encoding, and the factor of each item's score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.offline_pack import PackCodec
from askew_client.offline.codes import Int8Codes, ProductCodes, padded_places
from askew_client.offline.layout import CODEBOOK, codec_id, span_width
from askew_server.index.product_codes import nearest_codes, train_codebooks
from askew_server.index.types import Vectors

TRAINING_VECTORS = 10_000
"""How many vectors codebooks are trained on at most: 39 for each of 256 centroids."""

_LEAST_COSINE = 0.05
"""Of a vector and what its code stands for. A factor from less would make scores of noise."""

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """One way to code vectors of a dimension. `section`: what a pack holds of it, the bytes of the section `codec`."""

    codes: ProductCodes | Int8Codes
    section: bytes

    @cached_property
    def described(self) -> PackCodec:
        """The codec as the header of a pack names it."""
        dim = self.codes.dim
        if isinstance(self.codes, Int8Codes):
            return PackCodec(kind="int8", bytes=dim, id=codec_id("int8", dim, dim, self.section))
        size = len(self.codes.codebooks)
        return PackCodec(kind="product", bytes=size, id=codec_id("product", size, dim, self.section))

    def encode(self, vectors: Vectors) -> tuple[Codes, NDArray[np.float32]]:
        """Codes, u8 [n, bytes], and factors, float32 [n], of vectors, float32 [n, D].

        The factor (x · x) / (x · x̂), where x̂ is what the code of x stands for, makes the error of a score unbiased, and
        the score of an item with itself exact.
        """
        codes = self._nearest(vectors)
        exact = vectors.astype(np.float64)
        decoded = self.codes.decode(codes).astype(np.float64)
        own = np.einsum("nd,nd->n", exact, exact)
        coded = np.einsum("nd,nd->n", exact, decoded)
        least = _LEAST_COSINE * np.sqrt(own * np.einsum("nd,nd->n", decoded, decoded))
        return codes, (own / np.maximum(np.maximum(coded, least), np.finfo(np.float32).tiny)).astype(np.float32)

    def _nearest(self, vectors: Vectors) -> Codes:
        if isinstance(self.codes, ProductCodes):
            return nearest_codes(self.codes.spread(vectors), self.codes.codebooks)
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        steps = np.rint(vectors * (127.0 / np.maximum(largest, np.finfo(np.float32).tiny)))
        codes: Codes = steps.astype(np.int8).view(np.uint8)
        return codes


def int8_codec(dim: int) -> Codec:
    """The codec "int8": a signed byte for each value, of the item's largest one. It needs no training."""
    return Codec(Int8Codes(dim), b"")


def train_codec(vectors: Vectors, size: int) -> Codec:
    """A codec "product" of `size` bytes, trained on vectors, float32 [n, D], n > 0, of which some are drawn if need be."""
    dim = vectors.shape[1]
    if len(vectors) > TRAINING_VECTORS:
        vectors = vectors[:: -(-len(vectors) // TRAINING_VECTORS)]
    padded = np.zeros((len(vectors), size * span_width(dim, size)), dtype=np.float32)
    padded[:, padded_places(dim, size)] = vectors
    books = train_codebooks(padded, size)
    return Codec(ProductCodes(books, dim), books.astype(CODEBOOK).tobytes())


def stored_codec(codec: PackCodec, dim: int, section: bytes) -> Codec:
    """The codec of an older pack."""
    if codec.kind == "int8":
        return int8_codec(dim)
    books = np.frombuffer(section, dtype=CODEBOOK).astype(np.float32)
    return Codec(ProductCodes(books.reshape(codec.bytes, 256, span_width(dim, codec.bytes)), dim), section)
