"""Vectors as the database holds them: little-endian float16, one row each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from askew_server.index.types import Labels, Vectors
from askew_server.storage.sqlite import Database

_BY_LABEL = "SELECT label, vector FROM vectors WHERE label IN (SELECT value FROM json_each(?)) ORDER BY label"


def unpack_vectors(vectors: Sequence[bytes], dim: int) -> Vectors:
    """Stored vectors as float32 [n, D]."""
    return np.frombuffer(b"".join(vectors), dtype="<f2").reshape(len(vectors), dim).astype(np.float32)


def vectors_of(database: Database, labels: Labels, dim: int, *, batch: int) -> Iterator[tuple[Labels, Vectors]]:
    """Those of these rising labels that exist, and their vectors, float32 [n, D], `batch` labels at a time.

    Each batch is a read of its own, so that a long walk holds up no checkpoint.
    """
    for start in range(0, len(labels), batch):
        rows = database.rows(_BY_LABEL, (json.dumps(labels[start : start + batch].tolist()),))
        if rows:
            found = np.array([label for label, _ in rows], dtype=np.int64)
            yield found, unpack_vectors([vector for _, vector in rows], dim)
