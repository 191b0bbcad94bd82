"""One gallery: its store and its index, kept in step. No HTTP and no FAISS here.

A Gallery is used by its writer, one thread at a time (see owned.py); its index by the thread of its searcher.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from askew_client.contract.encoder_file import EncoderFile
from askew_client.contract.encoders import AdmissionReport, EncoderDescription
from askew_client.contract.filters import Filter
from askew_client.contract.galleries import GalleryDescription
from askew_client.contract.items import Item, ItemPage
from askew_client.contract.manifest import Manifest
from askew_server.errors import DamagedGallery
from askew_server.gallery.index_manager import IndexKeeper
from askew_server.gallery.items import read_item, read_page, unknown_item
from askew_server.index.types import IndexStatistics
from askew_server.storage.encoders import EncoderStore
from askew_server.storage.filters import filter_to_sql
from askew_server.storage.items import Change, GalleryStore, ItemBatch, StoredItem
from askew_server.storage.probes import ProbeStore
from askew_server.storage.reader import GalleryReader
from askew_server.storage.verification import refuse_damage


class Gallery:
    """A named set of items in one space, described by one teacher.

    `written`, `deleted`: how many items, since it was opened.
    """

    def __init__(self, name: str, store: GalleryStore) -> None:
        self.name = name
        self.store = store
        self.space = store.fact("space") or ""
        self.dim = int(store.fact("dim") or 0)
        self.teacher = Manifest.model_validate_json(store.fact("teacher") or "{}")
        self.encoders = EncoderStore(store.connection, store.folder / "encoders", name, self.teacher)
        self.probes = ProbeStore(store.connection, store.folder / "probes", name)
        self.index = IndexKeeper(name, store, self.dim)
        self.written = self.deleted = 0

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a gallery and bring its index up to date with its database. Raises DamagedGallery."""
        refuse_damage(folder)
        store = GalleryStore(folder)
        try:
            return cls(folder.name, store)
        except ValueError as error:
            store.close()
            reason = str(error).splitlines()[0]
            raise DamagedGallery(
                f"The gallery in {folder} cannot be opened: its facts are damaged: {reason}."
            ) from None

    @classmethod
    def create(cls, folder: Path, teacher: Manifest) -> Self:
        """Begin an empty gallery in the teacher's space."""
        store = GalleryStore(folder)
        facts = {"space": teacher.space_id, "dim": str(teacher.dim), "teacher": teacher.model_dump_json()}
        store.begin({**facts, "created_at": _now()})
        return cls(folder.name, store)

    def close(self) -> None:
        """End the index's threads and processes, and close the store."""
        self.index.close()
        self.store.close()

    def describe(self) -> GalleryDescription:
        """The gallery as its users see it."""
        return self.described(self.store, self.index.statistics())

    def described(self, reader: GalleryReader, statistics: IndexStatistics) -> GalleryDescription:
        """The same, on the thread of a reader."""
        items, photos = reader.counts()
        return GalleryDescription(
            name=self.name,
            space=self.space,
            dim=self.dim,
            items=items,
            photos=photos,
            sequence=reader.sequence,
            index=statistics.kind,
            exact=statistics.exact,
            teacher=self.teacher.encoder_id,
            photo_size=self.teacher.photo_size,
            scales=self.teacher.scales,
            describes_photos=self.teacher_path() is not None,
            admitted_encoders=self.admitted_encoders(),
        )

    # Items

    def upsert(self, items: list[StoredItem]) -> int:
        """Insert or replace items; acknowledged, and found by the next search, when it returns. The sequence."""
        return self.upsert_batch(ItemBatch.of(items))

    def upsert_batch(self, batch: ItemBatch) -> int:
        """Insert or replace many items at once, as `upsert` does."""
        sequence = self._applied(self.store.upsert(batch)).sequence
        self.written += len(batch.ids)
        return sequence

    def delete(self, item_id: str) -> int:
        """Delete an item: the sequence. Raises Refusal (unknown-item)."""
        change = self._deleted(self.store.delete([item_id]))
        if not len(change.removed):
            raise unknown_item(self.name, item_id)
        return change.sequence

    def delete_items(self, ids: list[str]) -> Change:
        """Delete those of these items that there are; what that changed."""
        return self._deleted(self.store.delete(ids))

    def delete_where(self, condition: Filter) -> Change:
        """Delete the items that meet a condition; what that changed. Raises Refusal for a filter."""
        return self._deleted(self.store.delete_where(*filter_to_sql(condition)))

    def item(self, item_id: str, *, with_vector: bool) -> Item:
        """One item. Raises Refusal (unknown-item)."""
        return read_item(self.store, self.name, item_id, with_vector=with_vector)

    def page(self, cursor: str | None, limit: int, *, with_vectors: bool) -> ItemPage:
        """One page of items in the order of ids. Raises Refusal (validation) for a foreign cursor."""
        return read_page(self.store, cursor, limit, None, with_vectors=with_vectors)

    # Encoders

    def teacher_path(self) -> Path | None:
        """The teacher's file, where the gallery keeps one."""
        return self.encoders.facts.teacher_file

    def admitted_encoders(self) -> list[str]:
        """The ids of the encoders whose queries this gallery answers, newest first; its teacher among them."""
        return self.encoders.facts.admitted

    def keep_encoder(self, file: EncoderFile, content: bytes, report: AdmissionReport | None) -> EncoderDescription:
        """Keep an encoder that was admitted, or the teacher. Raises Refusal (encoder-conflict)."""
        self.encoders.check_identity(file)
        self.encoders.write_file(file, content)
        return self.encoders.keep(file, report)

    def _deleted(self, change: Change) -> Change:
        self.deleted += len(change.removed)
        return self._applied(change)

    def _applied(self, change: Change) -> Change:
        """Bring what was committed into the index."""
        if len(change.added) or len(change.removed):
            self.index.apply(change)
        return change


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
