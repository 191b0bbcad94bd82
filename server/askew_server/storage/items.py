"""A gallery on disk: its items in SQLite, the photos in files next to it.

Every change of an item takes the next sequence number, which is also the item's label in the index. A label is never
used again, so an index that holds other labels than the database is brought up to date by the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from askew_client.contract.common import Payload
from askew_server.errors import DamagedGallery
from askew_server.index.types import Labels, Vectors
from askew_server.storage.checksums import item_checksum, vector_checksum
from askew_server.storage.commit_mark import gallery_mark
from askew_server.storage.errors import EXHAUSTED, DatabaseError, DiskNotWritable
from askew_server.storage.facts import FACTS_SCHEMA, write_fact
from askew_server.storage.filtering.filters import PayloadFilter, Selection
from askew_server.storage.filtering.predicates import scan
from askew_server.storage.photos import write_photo
from askew_server.storage.reader import GalleryReader
from askew_server.storage.schema import SCHEMA, migrate_from_layout_1
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import STORED_DTYPE

LAYOUT = 2

_CHECKPOINT_PAGES = 4_000
_LABELS_AT_ONCE = 500


@dataclass(frozen=True)
class StoredItem:
    """An item to write: `vector` float32 [D]; `photo`: the file's bytes and suffix, None to keep the photo it has."""

    id: str
    vector: NDArray[np.float32]
    payload: Payload
    photo: tuple[bytes, str] | None = None


@dataclass(frozen=True)
class ItemBatch:
    """Items to write together: `vectors` float16 [n, D], `payloads` as JSON text.

    `photos`: bytes and suffix, by id, of the items that get a photo. Of a repeated id, the last one counts.
    """

    ids: list[str]
    vectors: NDArray[np.float16]
    payloads: list[str]
    photos: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[StoredItem]) -> Self:
        """A batch of single items."""
        last = {item.id: item for item in items}
        return cls(
            ids=list(last),
            vectors=np.stack([item.vector for item in last.values()]).astype(STORED_DTYPE),
            payloads=[to_json(item.payload).decode() for item in last.values()],
            photos={item.id: item.photo for item in last.values() if item.photo},
        )


@dataclass(frozen=True)
class Change:
    """What a write changed: labels added with their float32 [n, D] vectors, and labels removed; both ascending."""

    sequence: int
    added: Labels
    vectors: Vectors
    removed: Labels


class SqliteItemStore(GalleryReader):
    """An ItemStore (port.py): the files of one gallery, used by one thread at a time. Methods raise DatabaseError, OSError."""

    reads_at_once = 1
    outage = None

    def __init__(self, folder: Path) -> None:
        """Open the gallery in `folder`, or create it. An older layout is migrated to this one. Raises DamagedGallery."""
        (folder / "photos").mkdir(parents=True, exist_ok=True)
        database = Database.open(folder / "gallery.db")
        super().__init__(database, folder)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            # SQLite's own bound is as long as one write of a thousand vectors, which would then be copied twice.
            database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            database.execute_script(FACTS_SCHEMA)
            if self.fact("layout") == "1":
                migrate_from_layout_1(database, folder / "index")
            layout = self.fact("layout") or str(LAYOUT)
            if layout == str(LAYOUT):
                database.execute_script(SCHEMA)
                database.count_commits(gallery_mark(folder), note_use=True)
        except (*EXHAUSTED, DiskNotWritable):
            database.close()
            raise
        except DatabaseError as error:
            database.close()
            raise DamagedGallery(f"The gallery in {folder} cannot be opened: {error}.") from None
        if layout != str(LAYOUT):
            database.close()
            raise DamagedGallery(
                f"The gallery in {folder} has layout {layout}; this Askew reads layout {LAYOUT}. Upgrade Askew."
            )

    def close(self) -> None:
        """Close the database; what was committed is on the disk already."""
        self._db.close()

    @property
    def connection(self) -> Database:
        """The database, for EncoderStore and ProbeStore, whose tables are in it; used on the store's thread."""
        return self._db

    def open_reader(self) -> GalleryReader:
        """See ItemStore."""
        return GalleryReader.open(self.folder)

    def open_filtering(self) -> tuple[GalleryReader, PayloadFilter]:
        """See ItemStore."""
        reader = self.open_reader()
        return reader, PayloadFilter(reader)

    def open_loop_reader(self) -> GalleryReader:
        """See ItemStore."""
        return self.open_reader()

    def own_filter(self) -> PayloadFilter:
        """See ItemStore."""
        return PayloadFilter(self)

    def begin(self, facts: dict[str, str]) -> None:
        """Write the facts of a new gallery, together with the layout."""
        with self._db.transaction():
            for key, value in {"layout": str(LAYOUT), "sequence": "0", **facts}.items():
                write_fact(self._db, key, value)

    def set_fact(self, key: str, value: str) -> None:
        """Write one of the gallery's facts."""
        with self._db.transaction():
            write_fact(self._db, key, value)

    def upsert(self, batch: ItemBatch) -> Change:
        """Insert or replace items, all or none; on the disk when it returns."""
        positions = list({item_id: position for position, item_id in enumerate(batch.ids)}.values())
        photos = {item_id: write_photo(self.folder, *photo) for item_id, photo in batch.photos.items()}
        ids = [batch.ids[position] for position in positions]
        with self._db.transaction():
            before = self.sequence
            labels = range(before + 1, before + 1 + len(ids))
            replaced = self._labels_and_photos(ids)
            unchanged = {item_id: photo for item_id, (_, photo) in replaced.items() if photo and item_id not in photos}
            removed = [label for label, _ in replaced.values()]
            self._remove(removed)
            photo_of = {**unchanged, **photos}
            self._db.execute_many(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
                (
                    (*row, item_checksum(*row))
                    for row in (
                        (label, item_id, batch.payloads[position], photo_of.get(item_id))
                        for label, item_id, position in zip(labels, ids, positions, strict=True)
                    )
                ),
            )
            vectors = np.ascontiguousarray(batch.vectors[positions], dtype=STORED_DTYPE)
            rows = ((label, vector.tobytes()) for label, vector in zip(labels, vectors, strict=True))
            self._db.execute_many(
                "INSERT INTO vectors VALUES (?, ?, ?)", ((*row, vector_checksum(*row)) for row in rows)
            )
            self._set_sequence(labels[-1])
        self._unlink_orphans(photo for item_id, (_, photo) in replaced.items() if item_id in photos)
        added = np.arange(labels[0], labels[-1] + 1, dtype=np.int64)
        # The index gets the values that are stored, rounded to float16, so that a restart changes no score.
        return Change(labels[-1], added, vectors.astype(np.float32), np.array(sorted(removed), dtype=np.int64))

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete items; unknown ids are ignored."""
        with self._db.transaction():
            rows = list(self._labels_and_photos(ids).values())
            change = self._delete(rows)
        self._unlink_orphans(photo for _, photo in rows)
        return change

    def delete_selected(self, selection: object) -> tuple[Change, list[str]]:
        """Delete the items that meet a selection's condition now; the items written since it are looked at, too.

        Returns what changed, and the condition's fields that no item had. Raises Refusal (validation), as PayloadFilter.
        """
        assert isinstance(selection, Selection)
        with self._db.transaction():
            whole = selection.continued(scan(self.payloads_after(selection.through), selection.condition))
            rows = self._photos_of(whole.labels.tolist())
            change = self._delete(rows)
        self._unlink_orphans(photo for _, photo in rows)
        return change, whole.unknown_fields

    def _photos_of(self, labels: Sequence[int]) -> list[tuple[int, str | None]]:
        """Label and photo of the items that exist among these labels."""
        parts = [labels[start : start + _LABELS_AT_ONCE] for start in range(0, len(labels), _LABELS_AT_ONCE)]
        sql = "SELECT label, photo FROM items WHERE label IN ({})"
        return [row for part in parts for row in self._db.rows(sql.format(",".join("?" * len(part))), part)]

    def _delete(self, rows: Sequence[tuple[int, str | None]]) -> Change:
        labels = sorted(label for label, _ in rows)
        sequence = self.sequence + len(labels)
        self._remove(labels)
        self._set_sequence(sequence)
        nothing = np.empty(0, dtype=np.int64)
        return Change(sequence, nothing, np.empty((0, 0), dtype=np.float32), np.array(labels, dtype=np.int64))

    def _labels_and_photos(self, ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        sql = "SELECT id, label, photo FROM items WHERE id IN (SELECT value FROM json_each(?))"
        rows = self._db.rows(sql, (json.dumps(list(ids)),))
        return {item_id: (label, photo) for item_id, label, photo in rows}

    def _remove(self, labels: Sequence[int]) -> None:
        rows = [(label,) for label in labels]
        self._db.execute_many("DELETE FROM items WHERE label = ?", rows)
        self._db.execute_many("DELETE FROM vectors WHERE label = ?", rows)

    def _set_sequence(self, sequence: int) -> None:
        write_fact(self._db, "sequence", str(sequence))

    def _unlink_orphans(self, photos: Iterable[str | None]) -> None:
        for photo in photos:
            if photo and not self._db.row("SELECT 1 FROM items WHERE photo = ? LIMIT 1", (photo,)):
                self.photo_path(photo).unlink(missing_ok=True)
