"""A gallery's items in Milvus. A write returns after Milvus has acknowledged it, and may be sent again at any time.

Photos are files in the gallery's folder, as with SQLite; so are its facts, encoders and probes, in its database there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from askew_server.index.types import Expression
from askew_server.milvus.collection import MilvusCollection
from askew_server.milvus.conditions import has_label
from askew_server.milvus.filter import MilvusFilter, MilvusSelection
from askew_server.milvus.reader import LABELS_AT_ONCE, MilvusReader
from askew_server.milvus.rows import parts_of, rows_of, stored_vectors
from askew_server.storage.items import Change, ItemBatch, SqliteItemStore
from askew_server.storage.photos import write_photo
from askew_server.storage.sqlite import Database

_IDS_AT_ONCE = 1_000


class MilvusItemStore(MilvusReader):
    """An ItemStore (storage/port.py). Several servers may write to one collection: each item's last write counts."""

    reads_at_once = 8

    def __init__(self, collection: MilvusCollection, own: SqliteItemStore, dim: int) -> None:
        """`own`: the gallery's folder and database, which hold everything but the items."""
        super().__init__(collection, own.folder)
        self._own = own
        self._dim = dim

    def close(self) -> None:
        """Close the connection and the gallery's own database."""
        self._collection.connection.close()
        self._own.close()

    @property
    def outage(self) -> str | None:
        """See ItemStore."""
        return self._collection.connection.fault

    @property
    def connection(self) -> Database:
        """See ItemStore."""
        return self._own.connection

    def open_reader(self) -> MilvusReader:
        """See ItemStore."""
        return MilvusReader(self._collection, self.folder)

    def open_filtering(self) -> tuple[MilvusReader, MilvusFilter]:
        """See ItemStore."""
        reader = self.open_reader()
        return reader, MilvusFilter(reader)

    def open_loop_reader(self) -> None:
        """See ItemStore: the event loop cannot wait for a network."""

    def own_filter(self) -> MilvusFilter:
        """See ItemStore."""
        return MilvusFilter(self)

    def set_fact(self, key: str, value: str) -> None:
        """See ItemStore."""
        self._own.set_fact(key, value)

    def upsert(self, batch: ItemBatch) -> Change:
        """Insert or replace items. Raises Refusal (validation) for an item that Milvus cannot hold; none is written then.

        Raises Refusal (not-ready) if Milvus goes away; some may be written then, and all are if the batch is sent again.
        """
        rows_of(batch, {}, self._collection.vector)
        ids = list(dict.fromkeys(batch.ids))
        before = self.known(ids)
        kept = {item_id: photo for item_id, (_, photo) in before.items() if photo}
        written = {item_id: write_photo(self.folder, *photo) for item_id, photo in batch.photos.items()}
        rows = rows_of(batch, kept | written, self._collection.vector)
        for part in parts_of(rows, self._dim):
            self._collection.upsert(part)
        sequence = self._collection.connection.note_change()
        self._unlink_orphans(kept[item_id] for item_id in written if item_id in kept)
        order = np.argsort([row["label"] for row in rows])
        added = np.array([row["label"] for row in rows], dtype=np.int64)[order]
        replaced = {label for label, _ in before.values()} - set(added.tolist())
        vectors = stored_vectors(rows, self._collection.vector)[order]
        return Change(sequence, added, vectors, np.array(sorted(replaced), dtype=np.int64))

    def delete(self, ids: Sequence[str]) -> Change:
        """See ItemStore."""
        found = self.known(list(dict.fromkeys(ids)))
        known = list(found)
        for start in range(0, len(known), _IDS_AT_ONCE):
            self._collection.delete_ids(known[start : start + _IDS_AT_ONCE])
        return self._deleted(list(found.values()))

    def delete_selected(self, selection: object) -> tuple[Change, list[str]]:
        """See ItemStore. An item that another server replaces meanwhile is not deleted: it has another label then."""
        assert isinstance(selection, MilvusSelection)
        # Evaluated again: what was written since is looked at, too.
        now = MilvusFilter(self).select(selection.condition)
        found = self._chosen(now)
        for start in range(0, len(found), LABELS_AT_ONCE):
            self._collection.delete(has_label(label for label, _ in found[start : start + LABELS_AT_ONCE]))
        return self._deleted(found), now.unknown_fields

    def _chosen(self, selection: MilvusSelection) -> list[tuple[int, str | None]]:
        """Label and photo of the items of a selection."""
        if isinstance(selection.chosen, Expression):
            rows = self.walk(selection.chosen, ["label", "photo"])
            return [(row["label"], row["photo"] or None) for row in rows]
        labels = selection.chosen.tolist()
        parts = (labels[start : start + LABELS_AT_ONCE] for start in range(0, len(labels), LABELS_AT_ONCE))
        found = (self._collection.query(has_label(part), ["label", "photo"]) for part in parts)
        return [(row["label"], row["photo"] or None) for rows in found for row in rows]

    def _deleted(self, found: Sequence[tuple[int, str | None]]) -> Change:
        sequence = self._collection.connection.note_change() if found else self.sequence
        self._unlink_orphans(photo for _, photo in found)
        nothing = np.empty(0, dtype=np.int64)
        labels = np.array(sorted(label for label, _ in found), dtype=np.int64)
        return Change(sequence, nothing, np.empty((0, 0), dtype=np.float32), labels)

    def _unlink_orphans(self, photos: Iterable[str | None]) -> None:
        for photo in {photo for photo in photos if photo}:
            if not self.is_any(Expression(f'photo == "{photo}"')):
                self.photo_path(photo).unlink(missing_ok=True)
