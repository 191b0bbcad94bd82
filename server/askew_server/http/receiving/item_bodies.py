"""Items to store as they arrive: in JSON, or many at once with their vectors raw behind a JSON header."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from askew_client.contract.items import ItemToStore, RawItem, RawUpsertHeader, UpsertRequest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import NORM_TOLERANCE, check_vector, numpy_dtype, unpack_json
from askew_client.errors import WireError
from askew_server.errors import Refusal
from askew_server.storage.items import ItemBatch

RAW_ITEMS = "application/vnd.askew.items"

_LENGTH = struct.Struct("<I")
_ROWS_AT_ONCE = 512


class ReceivedItems(ABC):
    """Items whose vectors are read once their space is known to be right.

    `size`: bytes of the body. `payloads`: JSON texts, in the order of `ids`.
    """

    def __init__(self, size: int, space: str | None, items: Sequence[ItemToStore] | Sequence[RawItem]) -> None:
        self.size = size
        self.space = space
        self.ids = [item.id for item in items]
        self.payloads = [to_json(item.payload).decode() for item in items]

    @abstractmethod
    def vectors(self, dim: int) -> NDArray[np.float16]:
        """The vectors for a dimension: float16 [n, D], checked. Raises WireError."""

    def batch(self, dim: int) -> ItemBatch:
        """The items with their vectors. Raises WireError."""
        return ItemBatch(self.ids, self.vectors(dim), self.payloads)


class JsonItems(ReceivedItems):
    """The JSON body of an upsert."""

    def __init__(self, body: bytes) -> None:
        """Parse it. Raises ValidationError."""
        self._request = UpsertRequest.model_validate_json(body)
        super().__init__(len(body), self._request.space, self._request.items)

    def vectors(self, dim: int) -> NDArray[np.float16]:
        """See ReceivedItems."""
        rows = []
        for item in self._request.items:
            with _naming(item.id):
                rows.append(unpack_json(item.vector, item.dtype, dim).astype("<f2"))
        return np.stack(rows)


class RawItems(ReceivedItems):
    """A body of `application/vnd.askew.items`; see RawUpsertHeader."""

    def __init__(self, body: bytes) -> None:
        """Parse its header. Raises ValidationError, Refusal (validation)."""
        self._body = body
        self._offset = _LENGTH.size + (_LENGTH.unpack_from(body)[0] if len(body) >= _LENGTH.size else 0)
        if len(body) < max(self._offset, _LENGTH.size):
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Expected the header's length as uint32 (little-endian), the JSON header and the vectors; the body has "
                f"{len(body)} bytes, which end before the header does.",
            )
        self._header = RawUpsertHeader.model_validate_json(body[_LENGTH.size : self._offset])
        super().__init__(len(body), self._header.space, self._header.items)

    def vectors(self, dim: int) -> NDArray[np.float16]:
        """See ReceivedItems."""
        header, received = self._header, len(self._body) - self._offset
        dtype = numpy_dtype(header.dtype)
        expected = len(header.items) * dim * dtype.itemsize
        if received != expected:
            raise WireError(
                ProblemKind.DIMENSION_MISMATCH,
                f"Expected {expected} bytes of vectors behind the header ({len(header.items)} items of {dim} values of "
                f"{header.dtype}), got {received}.",
                {"expected": dim, "expected_bytes": expected, "received_bytes": received, "dtype": header.dtype},
            )
        packed = np.frombuffer(self._body, dtype=dtype, offset=self._offset).reshape(len(header.items), dim)
        for start in range(0, len(packed), _ROWS_AT_ONCE):
            _check_rows(packed[start : start + _ROWS_AT_ONCE].astype(np.float32), header, start)
        return packed.astype("<f2", copy=False)


def _check_rows(vectors: NDArray[np.float32], header: RawUpsertHeader, start: int) -> None:
    """Refuse the first of these vectors that is not finite or not of unit length. Raises WireError."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    for bad in np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE)):
        with _naming(header.items[start + bad].id):
            check_vector(vectors[bad])


@contextmanager
def _naming(item_id: str) -> Iterator[None]:
    """Say of which item a vector is refused."""
    try:
        yield
    except WireError as error:
        raise WireError(error.kind, f"Item {item_id[:80]!r}: {error}", {**error.extras, "item": item_id}) from None
