"""One gallery: its store and its index, kept in sync. No HTTP and no FAISS here.

Only its writer thread uses a Gallery (see live.py); its index has its own thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from askew_client.contract.encoder_file import EncoderFile
from askew_client.contract.encoders import AdmissionReport, EncoderDescription
from askew_client.contract.galleries import GalleryDescription
from askew_client.contract.manifest import Manifest
from askew_server.clock import utc_microseconds
from askew_server.errors import DamagedGallery
from askew_server.gallery.backends import open_items
from askew_server.gallery.index_manager import OpenIndex, open_index
from askew_server.gallery.items import unknown_item
from askew_server.gallery.removals import Removals
from askew_server.index.port import VectorIndex
from askew_server.index.types import IndexStatistics
from askew_server.storage.encoders import EncoderStore
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.items import Change, ItemBatch, SqliteItemStore
from askew_server.storage.port import ItemReader, ItemSelection, ItemStore
from askew_server.storage.probes import ProbeStore
from askew_server.storage.verification import LARGEST_CHECKED_AT_OPEN, check_before_opening


class Gallery:
    """A named set of items in one space, described by one teacher.

    `written`, `deleted`: how many items were written and deleted since it was opened.
    """

    def __init__(self, name: str, own: SqliteItemStore, open_index: OpenIndex) -> None:
        """`own`: the gallery's database, which holds its facts, its encoders and probes, and its items unless Milvus does."""
        self.name = name
        facts = GalleryFacts.read(own.connection)
        self.space = facts.space
        self.dim = facts.dim
        self.teacher = facts.teacher
        self.encoders = EncoderStore(own.connection, own.folder / "encoders", name, self.teacher)
        self.probes = ProbeStore(own.connection, own.folder / "probes", name)
        self.store: ItemStore
        self.index: VectorIndex
        self.store, self.index = open_items(name, own, facts, open_index)
        self.removals = Removals(self.store.sequence)
        self.written = self.deleted = 0

    @classmethod
    def open(
        cls, folder: Path, open_index: OpenIndex = open_index, *, largest_checked: int = LARGEST_CHECKED_AT_OPEN
    ) -> Self:
        """Open a gallery and bring its index up to date with its database. Raises DamagedGallery.

        `largest_checked`: bytes of a database that is checked row by row before it is opened.
        """
        check_before_opening(folder, largest_checked)
        store = SqliteItemStore(folder)
        try:
            return cls(folder.name, store, open_index)
        except ValueError as error:
            store.close()
            reason = str(error).splitlines()[0]
            raise DamagedGallery(
                f"The gallery in {folder} cannot be opened: its facts are damaged: {reason}."
            ) from None
        except BaseException:
            store.close()
            raise

    @classmethod
    def create(
        cls,
        folder: Path,
        teacher: Manifest,
        open_index: OpenIndex = open_index,
        *,
        facts: Mapping[str, str] | None = None,
    ) -> Self:
        """Create an empty gallery in the teacher's space. `facts`: further ones, such as where its items are kept."""
        store = SqliteItemStore(folder)
        try:
            store.begin({**GalleryFacts.of_new_gallery(teacher), "created_at": utc_microseconds(), **(facts or {})})
            return cls(folder.name, store, open_index)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """End the index's threads and processes, and close the store."""
        self.index.close()
        self.store.close()

    def describe(self) -> GalleryDescription:
        """The gallery as its users see it."""
        return self.describe_from(self.store, self.index.statistics())

    def describe_from(self, reader: ItemReader, statistics: IndexStatistics) -> GalleryDescription:
        """The same as `describe`, read from another reader on that reader's thread."""
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
        """Insert or replace items, on the disk and in the index; returns the sequence number."""
        sequence = self._apply(self.store.upsert(batch)).sequence
        self.written += len(batch.ids)
        return sequence

    def delete(self, item_id: str) -> int:
        """Delete an item; returns the sequence number. Raises Refusal (unknown-item)."""
        change = self._apply_deletion(self.store.delete([item_id]))
        if not len(change.removed):
            raise unknown_item(self.name, item_id)
        return change.sequence

    def delete_items(self, ids: Sequence[str]) -> tuple[Change, list[str]]:
        """Delete items. Returns what changed, and those of the ids that no item had."""
        # No one else writes, so that these are the ones that the deletion ignores.
        unknown_ids = self.store.unknown_ids(ids)
        return self._apply_deletion(self.store.delete(ids)), unknown_ids

    def delete_selected(self, selection: ItemSelection) -> tuple[Change, list[str]]:
        """Delete the items that meet a selection's condition now, as SqliteItemStore.delete_selected."""
        change, unknown_fields = self.store.delete_selected(selection)
        return self._apply_deletion(change), unknown_fields

    # Encoders

    def keep_encoder(self, file: EncoderFile, content: bytes, report: AdmissionReport | None) -> EncoderDescription:
        """Keep an admitted encoder, or the teacher. Raises Refusal (encoder-conflict)."""
        self.encoders.check_identity(file)
        self.encoders.write_file(file, content)
        return self.encoders.keep(file, report)

    def _apply_deletion(self, change: Change) -> Change:
        self.deleted += len(change.removed)
        return self._apply(change)

    def _apply(self, change: Change) -> Change:
        """Apply a committed change to the index."""
        self.removals.note(change)
        if len(change.added):
            self.index.add(change.added, change.vectors)
        # Replaced vectors are removed last, so that a search in between misses an item for as short as possible.
        if len(change.removed):
            self.index.remove(change.removed)
        return change
