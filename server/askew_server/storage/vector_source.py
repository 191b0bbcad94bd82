"""Vectors of a gallery's database, for whoever builds an index from them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askew_server.index.types import Labels, Vectors

_BATCH = 4_096


@dataclass(frozen=True)
class DatabaseVectors:
    """The vectors of a gallery's database: table `vectors(label, vector)` with float16, fact `sequence`."""

    database: Path
    dim: int

    def covered(self) -> tuple[int, Labels]:
        with closing(self._connection()) as connection:
            (sequence,) = connection.execute("SELECT value FROM facts WHERE key = 'sequence'").fetchone()
            rows = connection.execute("SELECT label FROM vectors WHERE label <= ? ORDER BY label", (int(sequence),))
            return int(sequence), np.fromiter((label for (label,) in rows), dtype=np.int64)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        sql = "SELECT label, vector FROM vectors WHERE label IN (SELECT value FROM json_each(?)) ORDER BY label"
        with closing(self._connection()) as connection:
            for start in range(0, len(labels), _BATCH):
                asked = json.dumps(labels[start : start + _BATCH].tolist())
                rows = connection.execute(sql, (asked,)).fetchall()
                packed = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f2")
                found = np.array([label for label, _ in rows], dtype=np.int64)
                yield found, packed.reshape(len(rows), self.dim).astype(np.float32)

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.database.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
