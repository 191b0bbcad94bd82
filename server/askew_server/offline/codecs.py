"""How the vectors of a pack are coded: the codecs, and the factor of each item's score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.offline_pack import PackCodec
from askew_client.offline.codes import Codes, Int8Codes, ProductCodes
from askew_client.offline.layout import codec_id
from askew_server.index.types import Vectors

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Codec:
    """One way to code vectors of a dimension.

    `weights`: float32 [D], how much an error of each dimension counts when the nearest code is looked for.
    """

    codes: ProductCodes | Int8Codes
    weights: NDArray[np.float32] | None = None

    @cached_property
    def section(self) -> bytes:
        """What a pack holds of the codec: the bytes of its section `codec`."""
        return self.codes.section()

    @cached_property
    def described(self) -> PackCodec:
        """The codec as the header of a pack names it."""
        dim = self.codes.dim
        if isinstance(self.codes, Int8Codes):
            return PackCodec(kind="int8", bytes=dim, id=codec_id("int8", dim, dim, self.section))
        size = len(self.codes.starts) - 1
        return PackCodec(kind="product", bytes=size, id=codec_id("product", size, dim, self.section))

    def encode(self, vectors: Vectors) -> Codes:
        """The codes, u8 [n, bytes], of vectors, float32 [n, D]."""
        if isinstance(self.codes, Int8Codes):
            largest = np.abs(vectors).max(axis=1, keepdims=True)
            codes: Codes = np.rint(vectors * (127.0 / np.maximum(largest, _TINY))).astype(np.int8).view(np.uint8)
            return codes
        weights = np.ones(self.codes.dim, dtype=np.float32) if self.weights is None else self.weights
        found = np.empty((len(vectors), len(self.codes.parts)), dtype=np.uint8)
        for column, (dimensions, book) in enumerate(self.codes.parts):
            weighted = book * weights[dimensions]
            # |x - c|² without |x|², which is the same for every row of the codebook.
            far = (weighted * book).sum(axis=1) - 2 * (vectors[:, dimensions] @ weighted.T)
            found[:, column] = far.argmin(axis=1)
        return found

    def fit(self, vectors: Vectors, codes: Codes) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """How well codes stand for their vectors: factors float32 [n], and squared cosines float64 [n].

        The factor (x · x̂) / |x̂|², where x̂ is what the code of x stands for, brings x̂ as near to x as it can come. It makes
        scores too small by the squared cosine, on average; the writer divides the factors of "product" by the mean of these.
        """
        exact, decoded = vectors.astype(np.float64), self.codes.decode(codes).astype(np.float64)
        products = np.einsum("nd,nd->n", exact, decoded)
        squares = np.maximum(np.einsum("nd,nd->n", decoded, decoded), _TINY)
        own = np.maximum(np.einsum("nd,nd->n", exact, exact), _TINY)
        return (products / squares).astype(np.float32), products * products / squares / own


def int8_codec(dim: int) -> Codec:
    """The codec "int8": a signed byte for each value, of the item's largest one. It needs no training."""
    return Codec(Int8Codes(dim))
