"""The bodies of requests: vectors, photos, forms, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from askew_client.calls.call import StreamedBody
from askew_client.calls.vectors import numbers_of
from askew_client.contract.errors import UnreadablePhoto, WireError
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import NORM_TOLERANCE, check_vector

CHUNK = 1 << 18
"""Bytes of a file that are read and sent at a time."""

PhotoFile = str | Path | bytes
"""A photo to send: the path of a JPEG, PNG, WebP, HEIC or AVIF file, or the bytes of one."""

_ROWS_AT_ONCE = 512


def checked_vector(vector: ArrayLike) -> NDArray[np.float32]:
    """The vector as float32 [D], if it is one unit vector in any form that `numbers_of` reads. Raises WireError."""
    as_float32 = numbers_of(vector)
    if as_float32.ndim != 1:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH,
            f"Expected one vector, [D], got an array of shape {list(as_float32.shape)}. Of a list of photos, "
            "Encoder.encode returns [n, D]: send one of its rows, or all of them with search_batch.",
        )
    check_vector(as_float32)
    return as_float32


def vector_rows(vectors: ArrayLike) -> NDArray[np.float32]:
    """Several vectors as float32 [n, D]; their lengths are not checked. Raises WireError."""
    rows = numbers_of(vectors)
    check_rows(rows)
    return rows


def check_rows(rows: NDArray[np.generic]) -> None:
    """Check that an array has the shape [n, D]. Raises WireError."""
    if rows.ndim != 2:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH,
            f"Expected vectors as an array [n, D], got an array of shape {list(rows.shape)}. One vector v is sent as [v].",
        )


def check_vectors(vectors: NDArray[np.generic], names: Sequence[str]) -> None:
    """Check that [n, D] vectors are unit vectors. Raises WireError with the name of the first that is not."""
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = numbers_of(vectors[start : start + _ROWS_AT_ONCE])
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        for bad in np.flatnonzero(~(np.abs(lengths - 1.0) <= NORM_TOLERANCE)):
            try:
                check_vector(rows[bad])
            except WireError as error:
                raise WireError(error.kind, f"Item {names[start + int(bad)][:80]!r}: {error}", error.extras) from None


def photo_bytes(photo: PhotoFile) -> bytes:
    """The bytes of a photo file. Raises UnreadablePhoto."""
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise UnreadablePhoto(f"{photo} cannot be read: {error.strerror}.") from None


def file_body(path: Path) -> StreamedBody:
    """A file as a body, read while it is sent. Raises OSError if it cannot be found."""
    return StreamedBody(path.stat().st_size, lambda: _file_chunks(path))


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
