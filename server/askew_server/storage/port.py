"""The ports of a gallery's items: how they are read, filtered and written, whatever holds them.

A gallery has its items in one place: in SQLite next to its index (items.py, reader.py), or in Milvus (askew_server.milvus).
Facts, encoders, probes and photos are in the gallery's folder with both. tests/server/milvus/test_congruence.py checks
that a gallery answers alike from both.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from askew_client.contract.filters.conditions import Filter
from askew_server.index.types import Allowed
from askew_server.storage.items import Change, ItemBatch
from askew_server.storage.reader import Candidate, GalleryReader, ItemRow, StoredRow
from askew_server.storage.sqlite import Database


class ItemSelection(Protocol):
    """The items that meet a condition, as the filter of one store found them; for that store's methods alone."""

    @property
    def chosen(self) -> Allowed:
        """The items, for the index that is searched and for the store that is read."""

    @property
    def unknown_fields(self) -> list[str]:
        """The condition's fields that no item has, in the condition's order."""


class ItemFilter(Protocol):
    """Filters the items of one gallery. Used by the thread of its reader."""

    def select(self, condition: Filter, depth: int = 1, *, check_types: bool = True) -> ItemSelection:
        """The items that meet a condition; see PayloadFilter.select. Raises Refusal (validation)."""


class ItemReader(Protocol):
    """Reads of one gallery's items. Methods raise DatabaseError; Refusal (not-ready) where the store does not answer."""

    def close(self) -> None:
        """Close what the reader has open."""

    @property
    def sequence(self) -> int:
        """A number that grows with every change of an item."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let all reads of the block see the gallery as of one moment, where the store can."""

    def item(self, item_id: str) -> ItemRow | None:
        """One item by id; None if it does not exist."""

    def stored(self, item_id: str, *, vectors: bool) -> StoredRow | None:
        """One item by id, unparsed; None if it does not exist."""

    def page(self, after: str, limit: int, among: Allowed | None = None) -> list[ItemRow]:
        """Up to `limit` items in the order of ids, starting after the id `after`. `among`: only those of these labels."""

    def each_stored(
        self, after: str, limit: int, among: Allowed | None = None, *, vectors: bool
    ) -> Generator[StoredRow, None, None]:
        """Like `page`, one by one and unparsed."""

    def candidates(self, labels: Sequence[int]) -> list[Candidate]:
        """The items of these labels with their vectors, in any order; labels without an item are left out."""

    def few_candidates(self, labels: Sequence[int], *, vectors: bool) -> list[Candidate]:
        """The items of these few labels with their payloads, in any order; faster than one by one."""

    def candidates_in_parts(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool, largest: int | None
    ) -> Iterator[list[Candidate]]:
        """The items of these labels in any order, some hundred at a time. Raises ValueTooLarge.

        `largest`: bytes of a value; a larger one is not read.
        """

    def each_candidate(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool
    ) -> Generator[Candidate, None, None]:
        """The items of these labels one by one, in any order, so that the caller can stop when it holds enough."""

    def unknown_ids(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that no item has, each once, in their order."""

    def count(self, among: Allowed) -> int:
        """The number of items that have these labels, each named once; labels without an item are left out."""

    def counts(self) -> tuple[int, int]:
        """The number of items, and of items with a photo."""

    def items_with_photo(self) -> list[tuple[int, str]]:
        """Label and photo of every item that has one, by label; a store of many may return a sample of them."""

    def photo_path(self, photo: str) -> Path:
        """The path of a photo; `photo`: its file's name, as the item's row has it."""


class ItemStore(ItemReader, Protocol):
    """The items of one gallery, read and written by its writer thread, and the folder with everything else of it."""

    folder: Path
    reads_at_once: int
    """How many threads may read at a time, each with the same reader."""

    @property
    def outage(self) -> str | None:
        """Why the items cannot be reached now, a sentence; None if they can. Any thread may ask; it never blocks."""

    @property
    def connection(self) -> Database:
        """The gallery's database in the folder: its facts, encoders and probes; used on the writer's thread."""

    def open_reader(self) -> ItemReader:
        """A reader for another thread: it sees what was committed and never waits for a write."""

    def open_filtering(self) -> tuple[ItemReader, ItemFilter]:
        """A reader for another thread, and a filter that uses it there."""

    def open_loop_reader(self) -> GalleryReader | None:
        """A reader that takes so little time that it may be used on the event loop; None if there is none."""

    def own_filter(self) -> ItemFilter:
        """A filter for the writer's thread."""

    def set_fact(self, key: str, value: str) -> None:
        """Write one of the gallery's facts."""

    def upsert(self, batch: ItemBatch) -> Change:
        """Insert or replace items; they are kept, whatever ends this process, when it returns."""

    def delete(self, ids: Sequence[str]) -> Change:
        """Delete items; unknown ids are ignored."""

    def delete_selected(self, selection: ItemSelection) -> tuple[Change, list[str]]:
        """Delete the items that meet the condition of one of this store's selections now.

        Returns what changed, and the condition's fields that no item had. Raises Refusal (validation).
        """
