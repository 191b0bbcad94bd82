"""The codes of a pack: how a query is scored against them, and what they stand for.

"product": byte j of a code names one of 256 rows of codebook j, which stands for the dimensions [starts[j], starts[j+1]).
"int8": one signed byte for each dimension. Each item has a factor, so that the scores of both are inner products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.offline.layout import span_starts

_ROWS_AT_ONCE = 4_096

Float32 = NDArray[np.float32]
Codes = NDArray[np.uint8]
"""The codes of n items, u8 [n, bytes]; those of the kind "int8" are signed bytes, seen as unsigned ones."""


@dataclass(frozen=True)
class ProductCodes:
    """Codes of the kind "product". `codebooks`: float32 [bytes, 256, width], padded with 0. `dim`: values of a vector."""

    codebooks: Float32
    dim: int

    def scores(self, queries: Float32, codes: Codes, scales: Float32) -> Float32:
        """The inner products of float32 [q, D] queries with codes: float32 [q, n], not clipped."""
        tables = self._tables(queries)
        found = np.empty((len(queries), len(codes)), dtype=np.float32)
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            part = codes[start : start + _ROWS_AT_ONCE]
            columns = np.ascontiguousarray(part.T).astype(np.intp)
            for row, table in enumerate(tables):
                total = np.zeros(len(part), dtype=np.float32)
                for values, column in zip(table, columns, strict=True):
                    total += values[column]
                found[row, start : start + len(part)] = total
        found *= scales
        return found

    def decode(self, codes: Codes) -> Float32:
        """The vectors that codes stand for, without their scale: float32 [n, D]."""
        rows = self.codebooks[np.arange(len(self.codebooks)), codes]
        return np.ascontiguousarray(rows.reshape(len(codes), -1)[:, self._used()], dtype=np.float32)

    def spread(self, vectors: Float32) -> Float32:
        """Vectors, float32 [n, D], with each span padded with 0 to the codebooks' width: float32 [n, bytes × width]."""
        padded = np.zeros((len(vectors), self.codebooks.shape[0] * self.codebooks.shape[2]), dtype=np.float32)
        padded[:, self._used()] = vectors
        return padded

    def _tables(self, queries: Float32) -> Float32:
        """The inner product of each row of each codebook with its part of each query: float32 [q, bytes, 256]."""
        parts, _, width = self.codebooks.shape
        padded = self.spread(queries).reshape(len(queries), parts, width)
        tables: Float32 = np.einsum("jcd,qjd->qjc", self.codebooks, padded)
        return tables

    def _used(self) -> NDArray[np.int64]:
        """The places of the D dimensions among bytes × width padded ones."""
        return padded_places(self.dim, self.codebooks.shape[0])


@dataclass(frozen=True)
class Int8Codes:
    """Codes of the kind "int8": a signed byte for each of `dim` values."""

    dim: int

    def scores(self, queries: Float32, codes: Codes, scales: Float32) -> Float32:
        """The inner products of float32 [q, D] queries with codes: float32 [q, n], not clipped."""
        found = np.empty((len(queries), len(codes)), dtype=np.float32)
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            part = codes[start : start + _ROWS_AT_ONCE]
            found[:, start : start + len(part)] = queries @ self.decode(part).T
        found *= scales
        return found

    def decode(self, codes: Codes) -> Float32:
        """The vectors that codes stand for, without their scale: float32 [n, D]."""
        return codes.view(np.int8).astype(np.float32)


def padded_places(dim: int, size: int) -> NDArray[np.int64]:
    """Where each of `dim` dimensions lies once every span of `size` bytes is padded to the widest: int64 [dim]."""
    starts = span_starts(dim, size)
    widths = np.diff(starts)
    spans = np.repeat(np.arange(size), widths)
    places: NDArray[np.int64] = spans * int(widths.max()) + np.arange(dim) - starts[spans]
    return places
