"""A gallery at one moment, as the writer of a pack reads it: one read transaction, while others write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askew_server.index.types import Labels, Vectors
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.photos import photo_member
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import unpack_vectors, vectors_of

BATCH = 2_048
"""Items that are read and coded together: 16 MB of vectors of 2,048 values."""


@dataclass(frozen=True)
class PackSource:
    """The items of a gallery in the order of their labels. `labels`: int64 [n]. Methods raise DatabaseError."""

    facts: GalleryFacts
    labels: Labels
    _database: Database
    _folder: Path

    def batches(self) -> Iterator[tuple[Labels, Vectors]]:
        """Labels and float32 [n, D] vectors of all items, in batches."""
        rows: list[tuple[int, bytes]] = []
        for row in self._database.each("SELECT label, vector FROM vectors ORDER BY label"):
            rows.append((row[0], row[1]))
            if len(rows) == BATCH:
                yield self._unpacked(rows)
                rows = []
        if rows:
            yield self._unpacked(rows)

    def batches_of(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        """These ascending labels with float32 [n, D] vectors, in batches."""
        return vectors_of(self._database, labels, self.facts.dim, batch=BATCH)

    def vectors_of(self, labels: Labels) -> tuple[Labels, Vectors]:
        """Ascending labels with their vectors, float32 [n, D], all at once."""
        dim = self.facts.dim
        found = np.empty((len(labels), dim), dtype=np.float32)
        done = 0
        for part, vectors in self.batches_of(labels):
            found[done : done + len(part)] = vectors
            done += len(part)
        return labels, found

    def rows(self) -> Iterator[tuple[str, str, Path | None]]:
        """Id, payload as JSON text, and the photo's path of every item."""
        for item_id, payload, photo in self._database.each("SELECT id, payload, photo FROM items ORDER BY label"):
            yield item_id, payload, None if photo is None else self._folder / photo_member(photo)

    def _unpacked(self, rows: list[tuple[int, bytes]]) -> tuple[Labels, Vectors]:
        labels = np.array([label for label, _ in rows], dtype=np.int64)
        return labels, unpack_vectors([vector for _, vector in rows], self.facts.dim)


@contextmanager
def pack_source(folder: Path) -> Iterator[PackSource]:
    """Read the gallery in a folder as it is now, until the block ends. Raises DatabaseError, ValueError (its facts)."""
    with Database.open_read_only(folder / "gallery.db") as database:
        database.execute("BEGIN")
        facts = GalleryFacts.read(database)
        rows = database.each("SELECT label FROM items ORDER BY label")
        labels = np.fromiter((label for (label,) in rows), dtype=np.int64)
        yield PackSource(facts, labels, database, folder)
