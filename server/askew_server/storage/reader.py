"""Reads of a gallery's items, over a connection that one thread uses at a time."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np

from askew_client.contract.common import Payload
from askew_server.index.types import Allowed, Labels, Vectors, labels_of
from askew_server.storage.facts import read_fact
from askew_server.storage.photos import photo_member, photo_sha256
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import vectors_of

_MAX_PARAMETERS = 512
_MAPPED_BYTES = 1 << 40
_COUNTED_AT_ONCE = 100_000
_LOOK_UPS_FOR_A_STEP = 3
"""How many steps of a walk over ids take as long as looking one label up."""

HIGHEST_LABEL = 2**63 - 1
_PAYLOAD = "CAST(payload AS BLOB)"
"""As bytes: its length is that of the answer, and nothing has to decode it."""
_NOTHING = "x''"
_LARGEST_OF_SQLITE = 1_000_000_000
"""Bytes: SQLite's own limit on a value."""


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

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads of the block see the gallery as of one moment."""
        with self._db.reading():
            yield

    def page(self, after: str, limit: int, among: Allowed | None = None) -> list[ItemRow]:
        """Up to `limit` items in the order of ids, starting after the id `after`. `among`: only those of these labels."""
        if among is None:
            return list(self._rows("WHERE id > ? ORDER BY id LIMIT ?", (after, limit)))
        labels = self._next_labels(after, limit, labels_of(among))
        parts = [labels[start : start + _MAX_PARAMETERS] for start in range(0, len(labels), _MAX_PARAMETERS)]
        return [
            row for part in parts for row in self._rows(f"WHERE label IN ({_marks(part)}) ORDER BY id", tuple(part))
        ]

    def _next_labels(self, after: str, limit: int, among: Labels) -> list[int]:
        """The labels of the first `limit` items after an id, in the order of ids."""
        highest = int(self._db.value("SELECT max(label) FROM items") or 0)
        # Few labels are looked up and sorted; of many, a walk in the order of ids soon meets enough.
        if _LOOK_UPS_FOR_A_STEP * len(among) ** 2 <= limit * highest:
            found = [row for part in _parts(among) for row in self._ids_after(after, part)]
            return [label for _, label in sorted(found)[:limit]]
        # A table of bytes: testing a bit of numpy costs ten times as much.
        is_among = np.zeros(max(highest, int(among[-1])) + 1, dtype=np.bool_)
        is_among[among] = True
        table = is_among.tobytes()
        rows = self._db.each("SELECT label FROM items WHERE id > ? ORDER BY id", (after,))
        return list(islice((label for (label,) in rows if table[label]), limit))

    def _ids_after(self, after: str, labels: list[int]) -> list[tuple[str, int]]:
        return self._db.rows(
            f"SELECT id, label FROM items WHERE label IN ({_marks(labels)}) AND id > ?", (*labels, after)
        )

    def candidates(self, labels: Sequence[int]) -> list[Candidate]:
        """The items of these labels with their vectors, in any order; labels without an item are left out."""
        return list(self.each_candidate(labels, payloads=False, vectors=True))

    def few_candidates(self, labels: Sequence[int], *, vectors: bool) -> list[Candidate]:
        """The items of these few labels with their payloads, in any order; faster than one by one."""
        return self._db.rows(_candidates(len(labels), payloads=True, vectors=vectors), labels)

    def candidates_in_parts(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool, largest: int | None
    ) -> Iterator[list[Candidate]]:
        """Like each_candidate, some hundred at a time, which is faster. Raises ValueTooLarge.

        `largest`: bytes of a value; a larger one is not read.
        """
        for start in range(0, len(labels), _MAX_PARAMETERS):
            part = labels[start : start + _MAX_PARAMETERS]
            if largest is not None:
                self._db.refuse_values_beyond(largest)
            try:
                rows: list[Candidate] = self._db.rows(_candidates(len(part), payloads=payloads, vectors=vectors), part)
            finally:
                if largest is not None:
                    self._db.refuse_values_beyond(_LARGEST_OF_SQLITE)
            yield rows

    def each_candidate(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool
    ) -> Generator[Candidate, None, None]:
        """The items of these labels one by one, in any order, so that the caller can stop when it holds enough."""
        for start in range(0, len(labels), _MAX_PARAMETERS):
            part = labels[start : start + _MAX_PARAMETERS]
            yield from self._db.each(_candidates(len(part), payloads=payloads, vectors=vectors), part)

    def each_stored(
        self, after: str, limit: int, among: Allowed | None = None, *, vectors: bool
    ) -> Generator[StoredRow, None, None]:
        """Like `page`, one by one and unparsed."""
        columns = _stored(vectors=vectors)
        if among is None:
            yield from self._db.each(f"{columns} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
            return
        labels = self._next_labels(after, limit, labels_of(among))
        for start in range(0, len(labels), _MAX_PARAMETERS):
            part = labels[start : start + _MAX_PARAMETERS]
            yield from self._db.each(f"{columns} WHERE label IN ({_marks(part)}) ORDER BY id", part)

    def stored(self, item_id: str, *, vectors: bool) -> StoredRow | None:
        """One item by id, unparsed; None if it does not exist."""
        return self._db.row(f"{_stored(vectors=vectors)} WHERE id = ?", (item_id,))

    def refuse_values_beyond(self, size: int) -> None:
        """Make every read of a text or a blob of more bytes raise ValueTooLarge instead, before it is read."""
        self._db.refuse_values_beyond(size)

    def payloads(self, labels: Sequence[int]) -> list[tuple[int, str, str]]:
        """Label, id and payload as JSON text of these labels, in any order; labels without an item are left out."""
        return self._db.rows(f"SELECT label, id, payload FROM items WHERE label IN ({_marks(labels)})", labels)

    def labels(self) -> Labels:
        """The labels of all items, ascending."""
        rows = self._db.rows("SELECT label FROM items")
        labels = np.fromiter((label for (label,) in rows), dtype=np.int64, count=len(rows))
        labels.sort()
        return labels

    def ids_after(self, label: int) -> list[str]:
        """The ids of the items with higher labels, by label: those that were written since the change of this number."""
        return [
            item_id for (item_id,) in self._db.rows("SELECT id FROM items WHERE label > ? ORDER BY label", (label,))
        ]

    def existing(self, labels: Sequence[int]) -> set[int]:
        """Those of up to 500 labels that items have."""
        return {
            label for (label,) in self._db.rows(f"SELECT label FROM items WHERE label IN ({_marks(labels)})", labels)
        }

    def payloads_after(self, label: int, through: int = HIGHEST_LABEL) -> Iterator[tuple[int, str]]:
        """Label and payload as JSON text of the items with higher labels, up to `through`, by label."""
        sql = "SELECT label, payload FROM items WHERE label > ? AND label <= ? ORDER BY label"
        return self._db.each(sql, (label, through))

    def vectors_of(self, labels: Labels, dim: int, batch: int = 4_096) -> Iterator[tuple[Labels, Vectors]]:
        """Labels and float32 [n, D] vectors of the items of these ascending labels, in batches."""
        return vectors_of(self._db, labels, dim, batch=batch)

    def count(self, among: Allowed) -> int:
        """The number of items that have these labels, each named once; labels without an item are left out."""
        # As JSON, so that no row of an item passes through Python.
        sql = "SELECT count(*) FROM json_each(?) JOIN items ON label = value"
        labels = labels_of(among)
        parts = (labels[start : start + _COUNTED_AT_ONCE] for start in range(0, len(labels), _COUNTED_AT_ONCE))
        return sum(int(self._db.value(sql, (json.dumps(part.tolist()),))) for part in parts)

    def unknown_ids(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that no item has, each once, in their order."""
        sql = "SELECT id FROM items WHERE id IN (SELECT value FROM json_each(?))"
        known = {item_id for (item_id,) in self._db.rows(sql, (json.dumps(list(ids)),))}
        return [item_id for item_id in dict.fromkeys(ids) if item_id not in known]

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


def _marks(values: Sequence[object]) -> str:
    """SQL's placeholders for values in a list."""
    return ",".join("?" * len(values))


def _parts(labels: Labels) -> Iterator[list[int]]:
    """Labels in parts that one statement takes."""
    for start in range(0, len(labels), _MAX_PARAMETERS):
        yield labels[start : start + _MAX_PARAMETERS].tolist()


def _candidates(count: int, *, payloads: bool, vectors: bool) -> str:
    columns = f"label, id, {_PAYLOAD if payloads else _NOTHING}, {'vector' if vectors else _NOTHING}"
    tables = "items JOIN vectors USING (label)" if vectors else "items"
    return f"SELECT {columns} FROM {tables} WHERE label IN ({','.join('?' * count)})"


def _stored(*, vectors: bool) -> str:
    columns = f"id, {_PAYLOAD}, photo, {'vector' if vectors else _NOTHING}"
    return f"SELECT {columns} FROM items{' JOIN vectors USING (label)' if vectors else ''}"
