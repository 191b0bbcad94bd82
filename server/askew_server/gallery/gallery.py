"""One gallery: its store and its index, kept in step. No HTTP and no FAISS here.

A Gallery is used by its writer, one thread at a time (see live.py); its index has a thread of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from askew_client.contract.encoder_file import EncoderFile
from askew_client.contract.encoders import AdmissionReport, EncoderDescription
from askew_client.contract.galleries import GalleryDescription
from askew_client.contract.manifest import Manifest
from askew_server.clock import utc_microseconds
from askew_server.errors import DamagedGallery
from askew_server.gallery.index_manager import OpenIndex, open_index
from askew_server.gallery.items import unknown_item
from askew_server.index.port import VectorIndex
from askew_server.index.types import IndexStatistics
from askew_server.storage.encoders import EncoderStore
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.filter_sql import SqlCondition
from askew_server.storage.items import Change, ItemBatch, ItemStore
from askew_server.storage.probes import ProbeStore
from askew_server.storage.reader import GalleryReader
from askew_server.storage.verification import LARGEST_CHECKED_AT_OPEN, check_before_opening


class Gallery:
    """A named set of items in one space, described by one teacher.

    `written`, `deleted`: how many items, since it was opened.
    """

    def __init__(self, name: str, store: ItemStore, open_index: OpenIndex) -> None:
        self.name = name
        self.store = store
        facts = GalleryFacts.read(store.connection)
        self.space = facts.space
        self.dim = facts.dim
        self.teacher = facts.teacher
        self.encoders = EncoderStore(store.connection, store.folder / "encoders", name, self.teacher)
        self.probes = ProbeStore(store.connection, store.folder / "probes", name)
        self.index: VectorIndex = open_index(name, store, self.dim)
        self.written = self.deleted = 0

    @classmethod
    def open(
        cls, folder: Path, open_index: OpenIndex = open_index, *, largest_checked: int = LARGEST_CHECKED_AT_OPEN
    ) -> Self:
        """Open a gallery and bring its index up to date with its database. Raises DamagedGallery.

        `largest_checked`: bytes of a database that is checked row by row before it is opened.
        """
        check_before_opening(folder, largest_checked)
        store = ItemStore(folder)
        try:
            return cls(folder.name, store, open_index)
        except ValueError as error:
            store.close()
            reason = str(error).splitlines()[0]
            raise DamagedGallery(
                f"The gallery in {folder} cannot be opened: its facts are damaged: {reason}."
            ) from None

    @classmethod
    def create(cls, folder: Path, teacher: Manifest, open_index: OpenIndex = open_index) -> Self:
        """Begin an empty gallery in the teacher's space."""
        store = ItemStore(folder)
        store.begin({**GalleryFacts.of_new_gallery(teacher), "created_at": utc_microseconds()})
        return cls(folder.name, store, open_index)

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
            describes_photos=self.encoders.facts.teacher_file is not None,
            admitted_encoders=self.encoders.facts.admitted,
        )

    # Items

    def upsert(self, batch: ItemBatch) -> int:
        """Insert or replace items. When it returns they are on the disk, and the next search finds them. The sequence."""
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

    def delete_where(self, condition: SqlCondition) -> Change:
        """Delete the items that meet a condition, which PayloadFilter.sql has checked; what that changed."""
        return self._deleted(self.store.delete_where(condition))

    # Encoders

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
        if len(change.added):
            self.index.add(change.added, change.vectors)
        # What they replace goes last, so that searches in between do not miss an item longer than they must.
        if len(change.removed):
            self.index.remove(change.removed)
        return change
