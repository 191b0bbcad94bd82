"""The vectors of a gallery's database, for the process that builds the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askew_server.index.types import Labels, Vectors
from askew_server.storage.facts import read_fact
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import vectors_of

_BATCH = 4_096


@dataclass(frozen=True)
class SqliteVectorSource:
    """A VectorSource that reads a gallery's database. It can be pickled, so that a child process can read them."""

    database: Path
    dim: int

    def covered(self) -> tuple[int, Labels]:
        """The sequence number to cover, and every label up to it, ascending."""
        with Database.open_read_only(self.database) as database:
            sequence = int(read_fact(database, "sequence") or 0)
            rows = database.each("SELECT label FROM vectors WHERE label <= ? ORDER BY label", (sequence,))
            return sequence, np.fromiter((label for (label,) in rows), dtype=np.int64)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        """The labels among these, ascending ones, that still exist, with float32 [n, D] vectors, in batches."""
        with Database.open_read_only(self.database) as database:
            yield from vectors_of(database, labels, self.dim, batch=_BATCH)
