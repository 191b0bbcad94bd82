"""Items to store as they arrive: in JSON, or many at once with their vectors raw behind a JSON header."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from askew_client.contract.items import RawUpsertHeader, UpsertRequest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import NORM_TOLERANCE, check_vector, numpy_dtype, unpack_json
from askew_client.errors import WireError
from askew_server.errors import Refusal
from askew_server.storage.items import ItemBatch

RAW_ITEMS = "application/vnd.askew.items"

_LENGTH = struct.Struct("<I")
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class ReceivedItems:
    """Items whose vectors are still to be read, once their space is known to be right.

    `vectors` reads them for a dimension: float16 [n, D], checked. It raises WireError.
    """

    space: str | None
    ids: list[str]
    payloads: list[str]
    vectors: Callable[[int], NDArray[np.float16]]

    def batch(self, dim: int) -> ItemBatch:
        """The items with their vectors. Raises WireError."""
        return ItemBatch(self.ids, self.vectors(dim), self.payloads)


def read_json_items(body: bytes) -> ReceivedItems:
    """The JSON body of an upsert. Raises ValidationError."""
    request = UpsertRequest.model_validate_json(body)

    def vectors(dim: int) -> NDArray[np.float16]:
        rows = []
        for item in request.items:
            with _named(item.id):
                rows.append(unpack_json(item.vector, item.dtype, dim).astype("<f2"))
        return np.stack(rows)

    return ReceivedItems(
        request.space, [i.id for i in request.items], [to_json(i.payload).decode() for i in request.items], vectors
    )


def read_raw_items(body: bytes) -> ReceivedItems:
    """A body of `application/vnd.askew.items`; see RawUpsertHeader. Raises ValidationError, Refusal (validation)."""
    behind = _LENGTH.size + (_LENGTH.unpack_from(body)[0] if len(body) >= _LENGTH.size else 0)
    if len(body) < max(behind, _LENGTH.size):
        raise Refusal(
            ProblemKind.VALIDATION,
            f"Expected the header's length as uint32 (little-endian), the JSON header and the vectors; the body has "
            f"{len(body)} bytes, which end before the header does.",
        )
    header = RawUpsertHeader.model_validate_json(body[_LENGTH.size : behind])

    def vectors(dim: int) -> NDArray[np.float16]:
        dtype = numpy_dtype(header.dtype)
        expected = len(header.items) * dim * dtype.itemsize
        if len(body) - behind != expected:
            raise WireError(
                ProblemKind.DIMENSION_MISMATCH,
                f"Expected {expected} bytes of vectors behind the header ({len(header.items)} items of {dim} values of "
                f"{header.dtype}), got {len(body) - behind}.",
                {
                    "expected": dim,
                    "expected_bytes": expected,
                    "received_bytes": len(body) - behind,
                    "dtype": header.dtype,
                },
            )
        packed = np.frombuffer(body, dtype=dtype, offset=behind).reshape(len(header.items), dim)
        for start in range(0, len(packed), _ROWS_AT_ONCE):
            _check(packed[start : start + _ROWS_AT_ONCE].astype(np.float32), header, start)
        return packed.astype("<f2", copy=False)

    return ReceivedItems(
        header.space, [i.id for i in header.items], [to_json(i.payload).decode() for i in header.items], vectors
    )


def _check(vectors: NDArray[np.float32], header: RawUpsertHeader, start: int) -> None:
    """Refuse the first of these vectors that is not finite or not of unit length. Raises WireError."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    for bad in np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE)):
        with _named(header.items[start + bad].id):
            check_vector(vectors[bad])


@contextmanager
def _named(item_id: str) -> Iterator[None]:
    """Say of which item a vector is refused."""
    try:
        yield
    except WireError as error:
        raise WireError(error.kind, f"Item {item_id[:80]!r}: {error}", {**error.extras, "item": item_id}) from None
