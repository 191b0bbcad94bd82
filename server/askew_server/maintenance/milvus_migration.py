"""Moves a gallery's items to Milvus, without touching the gallery: a new one is made beside it, and aliases are switched.

Whatever ends it, it can be run again: an item in Milvus has a label that is made of what it holds, so that what is there
already is passed over. A record in DATA/migrations says which collection a migration fills, until it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.clock import utc_microseconds
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.index.types import Expression
from askew_server.maintenance.gallery_copy import gallery_files, link_files
from askew_server.maintenance.gallery_tables import copy_encoders_and_probes
from askew_server.maintenance.milvus_comparison import Comparison, compare, require_equal
from askew_server.maintenance.milvus_record import MigrationRecord, MigrationRecords
from askew_server.milvus.collection import MilvusCollection
from askew_server.milvus.conditions import EVERYTHING, has_label
from askew_server.milvus.connection import MilvusConnection
from askew_server.milvus.opening import drop_collection, has_collection, make_collection
from askew_server.milvus.place import MilvusPlace, token_for
from askew_server.milvus.reader import MilvusReader
from askew_server.milvus.rows import ItemFault, Row, parts_of, row_of
from askew_server.milvus.schema import vector_field
from askew_server.storage.facts import MILVUS_PLACE, GalleryFacts, read_facts
from askew_server.storage.items import SqliteItemStore
from askew_server.storage.raw_items import RawItem, raw_items
from askew_server.storage.reader import GalleryReader
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import unpack_stored

_ITEMS_AT_ONCE = 500

_WHEN_GONE = "Nothing was switched. Run the same command again once Milvus answers, or undo it (--undo)."

Report = Callable[[str, int, int], None]
"""report(what, done, total): what is being done now, and with how many items of how many."""


@dataclass
class Refused:
    """The items that Milvus cannot hold: ids and details, by reason."""

    items: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, item_id: str, fault: ItemFault) -> None:
        """Note one."""
        self.items.setdefault(fault.reason, []).append((item_id, fault.detail))


@dataclass(frozen=True)
class MigrationResult:
    """What a migration did. `written`: items that were not in Milvus yet. `refused`: nothing was done if there are any."""

    gallery: str
    items: int = 0
    written: int = 0
    removed: int = 0
    aliases: list[str] = field(default_factory=list)
    comparison: Comparison | None = None
    refused: Refused = field(default_factory=Refused)


class Migration:
    """One migration of one gallery, in a DATA directory that this process owns."""

    def __init__(self, catalog: Catalog, data: Path, source: str, target: str, place: MilvusPlace) -> None:
        """`source`: the gallery to move; `target`: the name of the new one. Raises Refusal (unknown-gallery, conflicts)."""
        self._catalog = catalog
        self._source = catalog.get(source).name
        self._target = target
        self._place = place
        self._records = MigrationRecords(data)
        self._folder = catalog.folder(self._source)
        with Database.open_read_only(self._folder / "gallery.db") as database:
            self._facts = GalleryFacts.read(database)
            if MILVUS_PLACE in read_facts(database):
                raise Refusal(
                    ProblemKind.GALLERY_CONFLICT, f"Gallery {self._source!r} has its items in Milvus already."
                )

    def run(self, report: Report, recall: float) -> MigrationResult:
        """Fill the collection, compare, make the new gallery and switch the aliases, or go on with that.

        `recall`: the least share of exact answers that an approximate index has to find. Raises AskewError, Refusal
        (verification-failed; not-ready if Milvus goes away). Then nothing is switched, and it can be run again or undone.
        """
        if self._is_made(self._target, self._place):
            return self._finish()
        refused = self._examine(report)
        if refused.items:
            return MigrationResult(self._source, refused=refused)
        self._catalog.check_free(self._target)
        self._begin()
        connection = MilvusConnection(
            self._source, self._place, token_for(self._place), self._facts.space, self._facts.dim, _WHEN_GONE
        )
        with closing(connection), closing(GalleryReader.open(self._folder)) as source:
            connection.require()
            collection = MilvusCollection(connection, self._facts.space)
            written, removed = self._fill(collection, source, report)
            comparison = self._compare(collection, source, report, recall)
            items = source.counts()[0]
            record = MigrationRecord(target=self._target, place=self._place, copied=source.sequence)
        self._records.write(self._source, record)
        self._make_gallery()
        return MigrationResult(self._target, items, written, removed, self._switch(), comparison)

    def undo(self) -> str:
        """Drop what an unfinished migration made; a sentence. Raises AskewError, Refusal (validation if there is none)."""
        record = self._records.read(self._source)
        if record is None:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"No unfinished migration of gallery {self._source!r} is known. After a complete one, let the aliases name the "
                "old gallery again (`askew alias set`) and delete the new one (`askew gallery delete`).",
            )
        if self._is_made(record.target, record.place):
            self._catalog.delete(record.target)
        drop_collection(record.place)
        self._records.remove(self._source)
        return f"The migration of gallery {self._source!r} to {record.place} is undone."

    def _finish(self) -> MigrationResult:
        """Switch to the gallery that an earlier run has made. It is not filled again: it may have been written to since."""
        record = self._records.read(self._source)
        if record is None:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {self._target!r} has its items in {self._place} already: the migration of gallery {self._source!r} is "
                "complete.",
            )
        with closing(GalleryReader.open(self._folder)) as source:
            items, sequence = source.counts()[0], source.sequence
        if record.copied != sequence:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {self._source!r} was changed after it was copied to {self._place}, and gallery {self._target!r} may "
                f"have been changed, too. Nothing was switched. Undo the migration (--undo drops what is in Milvus), and begin "
                "again.",
            )
        return MigrationResult(self._target, items, aliases=self._switch())

    def _switch(self) -> list[str]:
        """Let the aliases name the new gallery; which they are. The migration is complete then."""
        aliases = self._catalog.aliases_of(self._source)
        for alias in aliases:
            self._catalog.set_alias(alias, self._target)
        self._records.remove(self._source)
        return aliases

    def _examine(self, report: Report) -> Refused:
        """The items that Milvus cannot hold."""
        refused = Refused()
        for item, row in self._rows(report, "Examining"):
            if isinstance(row, ItemFault):
                refused.add(str(item.id), row)
        return refused

    def _begin(self) -> None:
        """Make the collection, or go on with the one of an earlier run. Raises AskewError, Refusal (gallery-conflict)."""
        earlier = self._records.read(self._source)
        if earlier is not None and not (earlier.place.is_as(self._place) and earlier.target == self._target):
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"An unfinished migration of gallery {self._source!r} fills {earlier.place} for gallery {earlier.target!r} "
                f"with index {earlier.place.index_type}. Run the same command again, or undo it first: askew gallery migrate "
                f"{self._source} --to {earlier.place.address} --undo.",
            )
        if earlier is not None:
            make_collection(self._place, self._facts.space, self._facts.dim)
            return
        if has_collection(self._place):
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Expected a free name, but there is a {self._place} already, and no unfinished migration that fills it. Choose "
                "another one with --collection, or drop it in Milvus.",
            )
        # Written first: an undo of what was not made does no harm.
        self._records.write(self._source, MigrationRecord(target=self._target, place=self._place))
        try:
            make_collection(self._place, self._facts.space, self._facts.dim)
        except AskewError:
            # Such as for parameters that Milvus does not know. If it is gone, what it has made is not known, either.
            with suppress(AskewError):
                if not has_collection(self._place):
                    self._records.remove(self._source)
            raise

    def _fill(self, collection: MilvusCollection, source: GalleryReader, report: Report) -> tuple[int, int]:
        """Make the collection hold the source's items and no others: how many were written and removed."""
        written = 0
        rows = (row for _, row in self._rows(report, "Writing") if not isinstance(row, ItemFault))
        while part := list(islice(rows, _ITEMS_AT_ONCE)):
            there = {row["id"]: row["label"] for row in collection.query(_labels_of(part), ["label"])}
            missing = [row for row in part if there.get(row["id"]) != row["label"]]
            for some in parts_of(missing, self._facts.dim):
                collection.upsert(some)
            written += len(missing)
        return written, self._remove_others(collection, source)

    def _remove_others(self, collection: MilvusCollection, source: GalleryReader) -> int:
        """Remove what an earlier run wrote and the source has no more."""
        if collection.count(EVERYTHING) == source.counts()[0]:
            return 0
        removed = 0
        walk = MilvusReader(collection, self._folder).walk(EVERYTHING, ["label"])
        while part := [str(row["id"]) for row in islice(walk, _ITEMS_AT_ONCE)]:
            gone = source.unknown_ids(part)
            if gone:
                collection.delete_ids(gone)
                removed += len(gone)
        return removed

    def _compare(
        self, collection: MilvusCollection, source: GalleryReader, report: Report, recall: float
    ) -> Comparison:
        items = source.counts()[0]
        report("Comparing", 0, items)
        found = collection.count(EVERYTHING)
        if found != items:
            raise Refusal(
                ProblemKind.VERIFICATION_FAILED,
                f"Milvus holds {found:,} items, the gallery {items:,}. Nothing was switched. Does something else write to "
                f"{self._place}? Run the command again.",
            )
        comparison = compare(source, self._facts.dim, collection, MilvusReader(collection, self._folder))
        require_equal(comparison, 1.0 if self._place.is_exact else recall)
        report("Comparing", items, items)
        return comparison

    def _is_made(self, target: str, place: MilvusPlace) -> bool:
        """Whether an earlier run has made the new gallery."""
        if target not in self._catalog.names():
            return False
        with Database.open_read_only(self._catalog.folder(target) / "gallery.db") as database:
            found = read_facts(database).get(MILVUS_PLACE)
        return found is not None and MilvusPlace.read(found).is_as(place)

    def _make_gallery(self) -> None:
        """The new gallery, with the encoders, probes and photos of the old one."""
        made = self._catalog.new_folder(self._target)
        try:
            with closing(SqliteItemStore(made)) as own:
                facts = {**GalleryFacts.of_new_gallery(self._facts.teacher), "created_at": utc_microseconds()}
                own.begin({**facts, MILVUS_PLACE: self._place.model_dump_json()})
                with Database.open_read_only(self._folder / "gallery.db") as source:
                    copy_encoders_and_probes(source, own.connection)
            files = (path.relative_to(self._folder).as_posix() for path in gallery_files(self._folder))
            link_files(self._folder, made, files)
            # One flush for all the files, as when a snapshot is restored.
            os.sync()
            self._catalog.adopt(made, self._target)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise

    def _rows(self, report: Report, what: str) -> Iterator[tuple[RawItem, Row | ItemFault]]:
        """Every item of the source with its row."""
        with Database.open_read_only(self._folder / "gallery.db") as database:
            total = int(database.value("SELECT count(*) FROM items"))
            report(what, 0, total)
            for number, item in enumerate(raw_items(database), 1):
                yield item, self._row(item)
                if number % _ITEMS_AT_ONCE == 0 or number == total:
                    report(what, number, total)

    def _row(self, item: RawItem) -> Row | ItemFault:
        vector = unpack_stored(item.vector, self._facts.dim) if item.matches_checksums else None
        if vector is None:
            return ItemFault("damage on this disk (see `askew doctor`)", "")
        photo = None if item.photo is None else str(item.photo)
        return row_of(str(item.id), vector, str(item.payload), photo, vector_field(self._facts.space))


def _labels_of(rows: list[Row]) -> Expression:
    return has_label(row["label"] for row in rows)
