"""The codes of a pack: how a query is scored against them, and what they stand for.

"product": byte j of a code names one of 256 rows of codebook j, which stands for the dimensions order[starts[j]] to
order[starts[j+1] - 1]: few where a gallery's vectors differ much, many where they hardly do.
"int8": one signed byte for each dimension. Each item has a factor, so that the scores of both are inner products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from askew_client.offline.layout import CODEBOOK, ORDER, START, codec_size

_ROWS_AT_ONCE = 4_096

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]
"""The codes of n items, u8 [n, bytes]; those of the kind "int8" are signed bytes, seen as unsigned ones."""


@dataclass(frozen=True)
class ProductCodes:
    """Codes of the kind "product". `order`: the dimensions, int64 [D]; `starts`: int64 [bytes + 1], rising from 0 to D.

    `values`: the codebooks one after the other, float32 [256 · D].
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    values: Float32

    @classmethod
    def read(cls, section: bytes, size: int, dim: int) -> ProductCodes:
        """The codes of a pack's section `codec`. Raises ValueError if it does not cover every dimension once."""
        if len(section) != codec_size("product", size, dim):
            raise ValueError(f"expected {codec_size('product', size, dim)} bytes, got {len(section)}")
        order = np.frombuffer(section, dtype=ORDER, count=dim).astype(np.int64)
        starts = np.frombuffer(section, dtype=START, count=size + 1, offset=ORDER.itemsize * dim).astype(np.int64)
        if not np.array_equal(np.sort(order), np.arange(dim)):
            raise ValueError("expected every dimension once")
        if starts[0] != 0 or starts[-1] != dim or (np.diff(starts) < 1).any():
            raise ValueError(f"expected starts that rise from 0 to {dim}")
        books = np.frombuffer(section, dtype=CODEBOOK, offset=ORDER.itemsize * dim + START.itemsize * (size + 1))
        if not np.isfinite(books).all():
            raise ValueError("expected finite values in its codebooks")
        return cls(order, starts, books.astype(np.float32))

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return len(self.order)

    @cached_property
    def parts(self) -> list[tuple[NDArray[np.int64], Float32]]:
        """For each byte the dimensions that it stands for, int64 [width], and its codebook, float32 [256, width]."""
        return [
            (self.order[begin:end], self.values[256 * begin : 256 * end].reshape(256, end - begin))
            for begin, end in pairwise(self.starts.tolist())
        ]

    def section(self) -> bytes:
        """The section `codec` of a pack."""
        books = self.values.astype(CODEBOOK)
        return self.order.astype(ORDER).tobytes() + self.starts.astype(START).tobytes() + books.tobytes()

    def scores(self, query: Float32, codes: Codes, scales: Float32) -> Float32:
        """The inner products of a float32 [D] query with codes: float32 [n], not clipped."""
        tables = [book @ query[dimensions] for dimensions, book in self.parts]
        found = np.zeros(len(codes), dtype=np.float32)
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            part = codes[start : start + _ROWS_AT_ONCE]
            total = found[start : start + len(part)]
            for table, column in zip(tables, np.ascontiguousarray(part.T), strict=True):
                total += table[column]
        found *= scales
        return found

    def decode(self, codes: Codes) -> Float32:
        """The vectors that codes stand for, without their scale: float32 [n, D]."""
        decoded = np.empty((len(codes), self.dim), dtype=np.float32)
        for column, (dimensions, book) in enumerate(self.parts):
            decoded[:, dimensions] = book[codes[:, column]]
        return decoded


@dataclass(frozen=True)
class Int8Codes:
    """Codes of the kind "int8": a signed byte for each of `dim` values."""

    dim: int

    def section(self) -> bytes:
        """The section `codec` of a pack."""
        return b""

    def scores(self, query: Float32, codes: Codes, scales: Float32) -> Float32:
        """The inner products of a float32 [D] query with codes: float32 [n], not clipped."""
        found = np.empty(len(codes), dtype=np.float32)
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            part = codes[start : start + _ROWS_AT_ONCE]
            found[start : start + len(part)] = self.decode(part) @ query
        found *= scales
        return found

    def decode(self, codes: Codes) -> Float32:
        """The vectors that codes stand for, without their scale: float32 [n, D]."""
        return codes.view(np.int8).astype(np.float32)
