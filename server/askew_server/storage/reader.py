"""Reads of a gallery's items, over a connection that one thread uses at a time."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from askew_client.contract.common import Payload
from askew_server.index.types import Labels, Vectors
from askew_server.storage.facts import read_fact
from askew_server.storage.filter_sql import EVERY_ITEM, SqlCondition
from askew_server.storage.photos import photo_member, photo_sha256
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import vectors_of

_MAX_PARAMETERS = 512
_MAPPED_BYTES = 1 << 40
_PAYLOAD = "CAST(payload AS BLOB)"
"""As bytes: its length is that of the answer, and nothing has to decode it."""
_NOTHING = "x''"


@dataclass(frozen=True)
class ItemRow:
    """An item as stored. `photo`: its file's name; `vector`: little-endian float16, see vectors.py."""

    label: int
    id: str
    payload: Payload
    photo: str | None
    vector: bytes

    @property
    def photo_sha256(self) -> str | None:
        """The SHA-256 of its photo, as hex digits; None if it has no photo."""
        return None if self.photo is None else photo_sha256(self.photo)


Candidate = tuple[int, str, bytes, bytes]
"""Label, id, payload as JSON, and the vector's bytes (little-endian float16) of an item that may become a hit.

Payload and vector are empty where they were not asked for.
"""

StoredRow = tuple[str, bytes, str | None, bytes]
"""Id, payload as JSON, photo and vector of an item; the vector is empty where it was not asked for."""


class GalleryReader:
    """Reads of one gallery's database. Methods raise DatabaseError."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self._db = database

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A reader with its own connection, separate from the writer's: it sees what was committed and never waits."""
        database = Database.open_read_only(folder / "gallery.db")
        # Vectors are read from the page cache in place: half the time of copying them into SQLite's own.
        database.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        return cls(database, folder)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def fact(self, key: str) -> str | None:
        """One of the gallery's facts, unchecked; None if it is missing."""
        return read_fact(self._db, key)

    @property
    def sequence(self) -> int:
        """The number of the last change of an item."""
        return int(self.fact("sequence") or 0)

    def item(self, item_id: str) -> ItemRow | None:
        """One item by id; None if it does not exist."""
        rows = list(self._rows("WHERE id = ?", (item_id,)))
        return rows[0] if rows else None

    def page(self, after: str, limit: int, condition: SqlCondition = EVERY_ITEM) -> list[ItemRow]:
        """Up to `limit` items that meet a condition, in the order of ids, starting after the id `after`."""
        clause = f"WHERE id > ? AND ({condition.sql}) ORDER BY id LIMIT ?"
        return list(self._rows(clause, (after, *condition.parameters, limit)))

    def candidates(self, labels: Sequence[int]) -> list[Candidate]:
        """The items of these labels with their vectors, in any order; labels without an item are left out."""
        return list(self.each_candidate(labels, payloads=False, vectors=True))

    def few_candidates(self, labels: Sequence[int], *, vectors: bool) -> list[Candidate]:
        """The items of these few labels with their payloads, in any order; faster than one by one."""
        return self._db.rows(_candidates(len(labels), payloads=True, vectors=vectors), labels)

    def each_candidate(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool
    ) -> Generator[Candidate, None, None]:
        """The items of these labels one by one, in any order, so that the caller can stop when it holds enough."""
        for start in range(0, len(labels), _MAX_PARAMETERS):
            part = labels[start : start + _MAX_PARAMETERS]
            yield from self._db.each(_candidates(len(part), payloads=payloads, vectors=vectors), part)

    def each_stored(
        self, after: str, limit: int, condition: SqlCondition = EVERY_ITEM, *, vectors: bool
    ) -> Generator[StoredRow, None, None]:
        """Like `page`, one by one and unparsed."""
        yield from self._db.each(
            f"{_stored(vectors=vectors)} WHERE id > ? AND ({condition.sql}) ORDER BY id LIMIT ?",
            (after, *condition.parameters, limit),
        )

    def stored(self, item_id: str, *, vectors: bool) -> StoredRow | None:
        """One item by id, unparsed; None if it does not exist."""
        return self._db.row(f"{_stored(vectors=vectors)} WHERE id = ?", (item_id,))

    def refuse_values_beyond(self, size: int) -> None:
        """Make every read of a text or a blob of more bytes raise ValueTooLarge instead, before it is read."""
        self._db.refuse_values_beyond(size)

    def labels(self) -> Labels:
        """The labels of all items, ascending."""
        rows = self._db.rows("SELECT label FROM items")
        labels = np.fromiter((label for (label,) in rows), dtype=np.int64, count=len(rows))
        labels.sort()
        return labels

    def labels_where(self, condition: SqlCondition) -> Labels:
        """The labels of the items that meet a condition, ascending."""
        rows = self._db.rows(f"SELECT label FROM items WHERE {condition.sql} ORDER BY label", condition.parameters)
        return np.array([label for (label,) in rows], dtype=np.int64)

    def count_where(self, condition: SqlCondition) -> int:
        """How many items meet a condition."""
        return int(self._db.value(f"SELECT count(*) FROM items WHERE {condition.sql}", condition.parameters))

    def fields_after(self, label: int, paths: Sequence[str]) -> list[tuple[Any, ...]]:
        """Label, then JSON type and value at each path, of the items with higher labels, by label."""
        columns = "".join(", json_type(payload, ?), json_extract(payload, ?)" for _ in paths)
        parameters = [path for each in paths for path in (each, each)]
        sql = f"SELECT label{columns} FROM items WHERE label > ? ORDER BY label"
        return self._db.rows(sql, (*parameters, label))

    def vectors_of(self, labels: Labels, dim: int, batch: int = 4_096) -> Iterator[tuple[Labels, Vectors]]:
        """Labels and float32 [n, D] vectors of the items of these ascending labels, in batches."""
        return vectors_of(self._db, labels, dim, batch=batch)

    def counts(self) -> tuple[int, int]:
        """The number of items, and of items with a photo."""
        items = self._db.value("SELECT count(*) FROM items")
        photos = self._db.value("SELECT count(*) FROM items WHERE photo IS NOT NULL")
        return int(items), int(photos)

    def photo_path(self, photo: str) -> Path:
        """The path of a photo; `photo`: its file's name, as the item's row has it."""
        return self.folder / photo_member(photo)

    def items_with_photo(self) -> list[tuple[int, str]]:
        """Label and photo of every item that has one, by label."""
        rows = self._db.rows("SELECT label, photo FROM items WHERE photo IS NOT NULL ORDER BY label")
        return [(int(label), str(photo)) for label, photo in rows]

    def _rows(self, clause: str, parameters: tuple[object, ...]) -> Iterator[ItemRow]:
        sql = f"SELECT label, id, payload, photo, vector FROM items JOIN vectors USING (label) {clause}"
        for label, item_id, payload, photo, vector in self._db.each(sql, parameters):
            yield ItemRow(label, item_id, json.loads(payload), photo, vector)


def _candidates(count: int, *, payloads: bool, vectors: bool) -> str:
    columns = f"label, id, {_PAYLOAD if payloads else _NOTHING}, {'vector' if vectors else _NOTHING}"
    tables = "items JOIN vectors USING (label)" if vectors else "items"
    return f"SELECT {columns} FROM {tables} WHERE label IN ({','.join('?' * count)})"


def _stored(*, vectors: bool) -> str:
    columns = f"id, {_PAYLOAD}, photo, {'vector' if vectors else _NOTHING}"
    return f"SELECT {columns} FROM items{' JOIN vectors USING (label)' if vectors else ''}"
