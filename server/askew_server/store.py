"""A gallery on disk: SQLite is the truth about its items, photos lie beside it.

Every change of an item takes the next sequence number, which is also the item's label in the index. So a saved
index that covers a sequence number is brought up to date by adding the items with a higher label and removing the
labels that were removed since.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from askew_client.contract.schemas import Payload
from askew_client.files import flush_folder, write_atomically
from askew_server.errors import DamagedGallery
from askew_server.index.port import Labels, Vectors

LAYOUT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, vector BLOB NOT NULL, payload TEXT NOT NULL, photo TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS items_by_photo ON items (photo) WHERE photo IS NOT NULL;
CREATE TABLE IF NOT EXISTS removed (sequence INTEGER PRIMARY KEY, label INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class StoredItem:
    """An item to write: `vector` float32 [D]; `photo` the file's bytes and suffix, None to keep the photo it has."""

    id: str
    vector: NDArray[np.float32]
    payload: Payload
    photo: tuple[bytes, str] | None = None


@dataclass(frozen=True)
class ItemRow:
    """An item as it lies in the database; `vector` is little-endian float16."""

    label: int
    id: str
    payload: Payload
    photo: str | None
    vector: bytes


class GalleryStore:
    """The files of one gallery. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Open, or begin, the gallery in `folder`. Raises DamagedGallery."""
        self.folder = folder
        self.photos = folder / "photos"
        for each in (folder, self.photos):
            each.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "gallery.db", isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            layout = self.fact("layout") or str(LAYOUT)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DamagedGallery(f"The gallery in {folder} cannot be opened: {error}.") from None
        if layout != str(LAYOUT):
            self._db.close()
            raise DamagedGallery(f"The gallery in {folder} has layout {layout}; this Askew reads {LAYOUT}. Upgrade it.")

    def close(self) -> None:
        """Close the database; what was committed is on the disk already."""
        self._db.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, for those who keep tables of their own in it; they use it on the store's thread."""
        return self._db

    def fact(self, key: str) -> str | None:
        """One of the gallery's own facts: space, dim, teacher, …"""
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def begin(self, facts: dict[str, str]) -> None:
        """Write the facts of a new gallery, together with the layout."""
        with self._transaction():
            rows = [("layout", str(LAYOUT)), ("sequence", "0"), *facts.items()]
            self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    @property
    def sequence(self) -> int:
        """The number of the last change of an item."""
        return int(self.fact("sequence") or 0)

    def upsert(self, items: Sequence[StoredItem]) -> tuple[Labels, Labels]:
        """Insert or replace items, all or none; on the disk when it returns.

        Returns the new labels, one for each item (the last of a repeated id counts), and the labels they replace.
        """
        by_id = {item.id: item for item in items}
        photos = {item.id: self._write_photo(*item.photo) for item in by_id.values() if item.photo}
        labels, replaced, orphans = [], [], []
        with self._transaction():
            sequence = self.sequence
            for item in by_id.values():
                sequence += 1
                old = self._db.execute("SELECT label, photo FROM items WHERE id = ?", (item.id,)).fetchone()
                photo = photos.get(item.id) or (old[1] if old else None)
                if old:
                    replaced.append(old[0])
                    orphans.append(old[1] if old[1] != photo else None)
                    self._remove_label(old[0], sequence)
                vector = np.ascontiguousarray(item.vector, dtype="<f2").tobytes()
                row = (sequence, item.id, vector, to_json(item.payload).decode(), photo)
                self._db.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", row)
                labels.append(sequence)
            self._set_sequence(sequence)
        self._unlink_orphans(orphans)
        return np.array(labels, dtype=np.int64), np.array(replaced, dtype=np.int64)

    def delete(self, item_id: str) -> int | None:
        """Delete an item; its label, or None when there is no such item."""
        with self._transaction():
            row = self._db.execute("SELECT label, photo FROM items WHERE id = ?", (item_id,)).fetchone()
            if row is None:
                return None
            sequence = self.sequence + 1
            self._remove_label(row[0], sequence)
            self._set_sequence(sequence)
        self._unlink_orphans([row[1]])
        return int(row[0])

    def item(self, item_id: str) -> ItemRow | None:
        """One item by id."""
        rows = list(self._rows("WHERE id = ?", (item_id,)))
        return rows[0] if rows else None

    def page(self, after: str, limit: int) -> list[ItemRow]:
        """Up to `limit` items with ids behind `after`, in the order of ids."""
        return list(self._rows("WHERE id > ? ORDER BY id LIMIT ?", (after, limit)))

    def items_by_label(self, labels: Iterable[int]) -> dict[int, tuple[str, Payload]]:
        """Id and payload of these labels; labels without an item are left out."""
        sql = "SELECT label, id, payload FROM items WHERE label IN (SELECT value FROM json_each(?))"
        rows = self._db.execute(sql, (json.dumps(list(labels)),))
        return {label: (item_id, json.loads(payload)) for label, item_id, payload in rows}

    def labels_where(self, condition: str, parameters: Sequence[object]) -> Labels:
        """The labels of the items that meet an SQL condition over `payload`."""
        rows = self._db.execute(f"SELECT label FROM items WHERE {condition}", tuple(parameters)).fetchall()
        return np.array([label for (label,) in rows], dtype=np.int64)

    def vectors_after(self, sequence: int, dim: int, batch: int = 4_096) -> Iterator[tuple[Labels, Vectors]]:
        """Labels and float32 [n, D] vectors of the items changed after `sequence`, in batches."""
        cursor = self._db.execute("SELECT label, vector FROM items WHERE label > ? ORDER BY label", (sequence,))
        while rows := cursor.fetchmany(batch):
            labels = np.array([label for label, _ in rows], dtype=np.int64)
            packed = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f2")
            yield labels, packed.reshape(len(rows), dim).astype(np.float32)

    def removed_after(self, sequence: int) -> Labels:
        """The labels removed after `sequence`."""
        rows = self._db.execute("SELECT label FROM removed WHERE sequence > ?", (sequence,)).fetchall()
        return np.array([label for (label,) in rows], dtype=np.int64)

    def forget_removed(self, sequence: int) -> None:
        """Drop the record of removals up to `sequence`, once a saved index covers them."""
        self._db.execute("DELETE FROM removed WHERE sequence <= ?", (sequence,))

    def counts(self) -> tuple[int, int]:
        """How many items there are, and how many of them have a photo."""
        items, photos = self._db.execute("SELECT count(*), count(photo) FROM items").fetchone()
        return int(items), int(photos)

    def photo_path(self, photo: str) -> Path:
        """Where a photo named in an item lies."""
        return self.photos / photo[:2] / photo

    def items_with_photo(self) -> list[tuple[int, str]]:
        """Label and photo of every item that has one, by label."""
        rows = self._db.execute("SELECT label, photo FROM items WHERE photo IS NOT NULL ORDER BY label")
        return [(int(label), str(photo)) for label, photo in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            # A commit fails, too, when the disk is full; the transaction must not stay open then.
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _rows(self, clause: str, parameters: tuple[object, ...]) -> Iterator[ItemRow]:
        sql = f"SELECT label, id, payload, photo, vector FROM items {clause}"
        for label, item_id, payload, photo, vector in self._db.execute(sql, parameters):
            yield ItemRow(label, item_id, json.loads(payload), photo, vector)

    def _remove_label(self, label: int, sequence: int) -> None:
        self._db.execute("DELETE FROM items WHERE label = ?", (label,))
        self._db.execute("INSERT INTO removed VALUES (?, ?)", (sequence, label))

    def _set_sequence(self, sequence: int) -> None:
        self._db.execute("UPDATE facts SET value = ? WHERE key = 'sequence'", (str(sequence),))

    def _write_photo(self, photo: bytes, suffix: str) -> str:
        name = hashlib.sha256(photo).hexdigest() + suffix
        path = self.photo_path(name)
        if not path.exists():
            if not path.parent.exists():
                path.parent.mkdir()
                flush_folder(self.photos)
            write_atomically(path, photo)
        return name

    def _unlink_orphans(self, photos: Iterable[str | None]) -> None:
        for photo in photos:
            if photo and not self._db.execute("SELECT 1 FROM items WHERE photo = ? LIMIT 1", (photo,)).fetchone():
                self.photo_path(photo).unlink(missing_ok=True)
