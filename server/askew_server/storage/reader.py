"""What is read of a gallery's items, over a connection that one thread uses at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from askew_client.contract.common import Payload
from askew_server.index.types import Labels, Vectors
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import vectors_of

_MOST_PARAMETERS = 512
_MAPPED_BYTES = 1 << 40


@dataclass(frozen=True)
class ItemRow:
    """An item as it lies in the database; `vector` is little-endian float16."""

    label: int
    id: str
    payload: Payload
    photo: str | None
    vector: bytes


Candidate = tuple[int, str, str, bytes]
"""Label, id, payload as JSON text, and the vector's bytes (little-endian float16) of an item that may become a hit."""


class GalleryReader:
    """Reads of one gallery's database."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.photos = folder / "photos"
        self._db = database

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A reader of its own beside the gallery's writer: it sees what was committed and never waits."""
        database = Database.open_read_only(folder / "gallery.db")
        # Vectors are read from the page cache in place: half the time of copying them into SQLite's own.
        database.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        return cls(database, folder)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def fact(self, key: str) -> str | None:
        """One of the gallery's own facts: space, dim, teacher, …"""
        row = self._db.row("SELECT value FROM facts WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    @property
    def sequence(self) -> int:
        """The number of the last change of an item."""
        return int(self.fact("sequence") or 0)

    def item(self, item_id: str) -> ItemRow | None:
        """One item by id."""
        rows = list(self._rows("WHERE id = ?", (item_id,)))
        return rows[0] if rows else None

    def page(self, after: str, limit: int, condition: tuple[str, Sequence[object]] = ("1", ())) -> list[ItemRow]:
        """Up to `limit` items with ids behind `after` that meet an SQL condition over `payload`, in the order of ids."""
        sql, parameters = condition
        return list(self._rows(f"WHERE id > ? AND ({sql}) ORDER BY id LIMIT ?", (after, *parameters, limit)))

    def candidates(self, labels: Sequence[int]) -> list[Candidate]:
        """The items of these labels, in no order; labels without an item are left out."""
        if len(labels) > _MOST_PARAMETERS:
            parts = [labels[start : start + _MOST_PARAMETERS] for start in range(0, len(labels), _MOST_PARAMETERS)]
            return [candidate for part in parts for candidate in self.candidates(part)]
        marks = ",".join("?" * len(labels))
        sql = f"SELECT label, id, payload, vector FROM items JOIN vectors USING (label) WHERE label IN ({marks})"
        return self._db.rows(sql, labels)

    def payloads(self, labels: Sequence[int]) -> list[tuple[int, str, str]]:
        """Label, id and payload as JSON text of these labels, in no order; labels without an item are left out."""
        marks = ",".join("?" * len(labels))
        return self._db.rows(f"SELECT label, id, payload FROM items WHERE label IN ({marks})", labels)

    def labels(self) -> Labels:
        """The labels of all items, rising."""
        rows = self._db.rows("SELECT label FROM items")
        labels = np.fromiter((label for (label,) in rows), dtype=np.int64, count=len(rows))
        labels.sort()
        return labels

    def labels_where(self, condition: str, parameters: Sequence[object]) -> Labels:
        """The labels of the items that meet an SQL condition over `payload`, rising."""
        rows = self._db.rows(f"SELECT label FROM items WHERE {condition} ORDER BY label", tuple(parameters))
        return np.array([label for (label,) in rows], dtype=np.int64)

    def fields_after(self, label: int, paths: Sequence[str]) -> list[tuple[Any, ...]]:
        """Label, then JSON type and value at each path, of the items with higher labels, by label."""
        columns = "".join(", json_type(payload, ?), json_extract(payload, ?)" for _ in paths)
        parameters = [path for each in paths for path in (each, each)]
        sql = f"SELECT label{columns} FROM items WHERE label > ? ORDER BY label"
        return self._db.rows(sql, (*parameters, label))

    def vectors_of(self, labels: Labels, dim: int, batch: int = 4_096) -> Iterator[tuple[Labels, Vectors]]:
        """Labels and float32 [n, D] vectors of the items of these rising labels, in batches."""
        return vectors_of(self._db, labels, dim, batch=batch)

    def counts(self) -> tuple[int, int]:
        """How many items there are, and how many of them have a photo."""
        items = self._db.value("SELECT count(*) FROM items")
        photos = self._db.value("SELECT count(*) FROM items WHERE photo IS NOT NULL")
        return int(items), int(photos)

    def photo_path(self, photo: str) -> Path:
        """Where a photo named in an item lies."""
        return self.photos / photo[:2] / photo

    def items_with_photo(self) -> list[tuple[int, str]]:
        """Label and photo of every item that has one, by label."""
        rows = self._db.rows("SELECT label, photo FROM items WHERE photo IS NOT NULL ORDER BY label")
        return [(int(label), str(photo)) for label, photo in rows]

    def _rows(self, clause: str, parameters: tuple[object, ...]) -> Iterator[ItemRow]:
        sql = f"SELECT label, id, payload, photo, vector FROM items JOIN vectors USING (label) {clause}"
        for label, item_id, payload, photo, vector in self._db.each(sql, parameters):
            yield ItemRow(label, item_id, json.loads(payload), photo, vector)
