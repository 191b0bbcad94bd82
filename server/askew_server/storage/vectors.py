"""Vectors as the database holds them: little-endian float16, one row each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from askew_server.index.types import Labels, Vectors
from askew_server.storage.sqlite import Database

STORED_DTYPE = np.dtype("<f2")

_BY_LABEL = "SELECT label, vector FROM vectors WHERE label IN (SELECT value FROM json_each(?)) ORDER BY label"


def unpack_vector(vector: bytes) -> NDArray[np.float32]:
    """One stored vector as float32 [D]."""
    return np.frombuffer(vector, dtype=STORED_DTYPE).astype(np.float32)


def unpack_vectors(vectors: Sequence[bytes], dim: int) -> Vectors:
    """Stored vectors as float32 [n, D]."""
    return unpack_vector(b"".join(vectors)).reshape(len(vectors), dim)


def vectors_of(database: Database, labels: Labels, dim: int, *, batch: int) -> Iterator[tuple[Labels, Vectors]]:
    """The labels among these, ascending ones, that exist, with float32 [n, D] vectors; `batch` labels at a time.

    Each batch is a separate read, so that a long walk does not delay checkpoints.
    """
    for start in range(0, len(labels), batch):
        rows = database.rows(_BY_LABEL, (json.dumps(labels[start : start + batch].tolist()),))
        if rows:
            found = np.array([label for label, _ in rows], dtype=np.int64)
            yield found, unpack_vectors([vector for _, vector in rows], dim)


def unpack_stored(value: object, dim: int) -> NDArray[np.float16] | None:
    """A vector as a database holds it, float16 [D]; None for what is none of D finite values."""
    if not isinstance(value, bytes) or len(value) != dim * STORED_DTYPE.itemsize:
        return None
    vector: NDArray[np.float16] = np.frombuffer(value, dtype=STORED_DTYPE)
    return vector if np.isfinite(vector).all() else None
