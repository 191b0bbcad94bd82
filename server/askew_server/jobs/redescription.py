"""Filling a gallery from the photos of another one, with another teacher: whole passes, and single items."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from askew_client.contract.common import Payload
from askew_client.contract.jobs import RedescribeResult, RedescribeVerification
from askew_client.contract.problems import ProblemKind
from askew_client.errors import PhotoError
from askew_client.files import flush_folder
from askew_server.errors import Refusal
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.describe_photos import MAX_REASONS
from askew_server.jobs.gallery_access import BATCH, JobDescriber, known_photos, run_in
from askew_server.jobs.kind import Cancelled, JobStopped, Report
from askew_server.jobs.redescribe_check import SELF_SAMPLE
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.port import ItemReader
from askew_server.storage.reader import ItemRow

_PAGE = 500


@dataclass
class Redescription:
    """The progress of one job through the two galleries: the old one, and the new one that it fills.

    `check_target`: raises Refusal if the new gallery may no longer be changed; called on that gallery's writer thread, right
    before each change, so that nothing is undone that a client wrote to it. `refused`: SHA-256 of the photo and the
    reason, by item id. The numbers and `sample` are those of the last pass: `describable` counts photos that were not
    refused, `sample` holds the ids of some of their items. `touched`: the ids described since it was last emptied; None
    if nobody asks.
    """

    target: LiveGallery
    old: ItemReader
    new: ItemReader
    describer: JobDescriber
    report: Report
    cancelled: Cancelled
    check_target: Callable[[Gallery], None]
    described: int = 0
    deleted: int = 0
    refused: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    photos: int = 0
    describable: int = 0
    without_photo: int = 0
    sample: list[str] = field(default_factory=list)
    touched: set[str] | None = None

    def pass_over(self) -> int:
        """Bring the new gallery up to date with the old one, once; returns how many items that changed."""
        before = self.described + self.deleted
        _, total = self.old.counts()
        draw = random.Random(0)
        self.photos, self.describable, self.without_photo, self.sample = 0, 0, 0, []
        self.check()
        for page in pages(self.old, self.cancelled):
            self.check()
            missing = missing_items(page, self.new, self.refused)
            settled = self.photos + sum(row.photo is not None for row in page) - len(missing)
            for start in range(0, len(missing), BATCH):
                self._describe(missing[start : start + BATCH])
                self.report(min(total, settled + start + BATCH), total)
            for row in page:
                self.photos += row.photo is not None
                self.without_photo += row.photo is None
                if row.photo is not None and row.id not in self.refused:
                    self.describable += 1
                    self._draw(row.id, draw)
            self.report(min(total, self.photos), total)
        self._delete_what_is_gone()
        return self.described + self.deleted - before

    def settle(self, ids: Sequence[str]) -> None:
        """Bring single items of the new gallery up to date with the old one: those that changed."""
        for start in range(0, len(ids), BATCH):
            if self.cancelled():
                raise JobStopped
            self.check()
            part = ids[start : start + BATCH]
            rows = [row for row in map(self.old.item, part) if row is not None and row.photo is not None]
            self._describe(missing_items(rows, self.new, self.refused))
            kept = {row.id for row in rows}
            self.deleted += sum(self._delete(each) for each in part if each not in kept)

    def check(self) -> None:
        """Check that the new gallery may still be changed. Raises Refusal, JobStopped."""
        run_in(self.target, self.check_target, self.cancelled)

    def still_refused(self) -> int:
        """How many items of the old gallery have a photo, now, that could not be described."""
        known = known_photos(self.old, self.refused)
        return sum(known.get(each, (None,))[0] == sha256 for each, (sha256, _) in self.refused.items())

    def result(self, verification: RedescribeVerification) -> RedescribeResult:
        """What was done, and what could not be described."""
        reasons = {identity: reason for identity, (_, reason) in self.refused.items()}
        return RedescribeResult(
            described=self.described,
            deleted=self.deleted,
            items_without_photo=self.without_photo,
            refused=len(reasons),
            reasons=dict(list(reasons.items())[:MAX_REASONS]),
            verification=verification,
        )

    def _draw(self, identity: str, draw: random.Random) -> None:
        """Keep a uniform sample of the items that were described."""
        if len(self.sample) < SELF_SAMPLE:
            self.sample.append(identity)
        elif (place := draw.randrange(self.describable)) < SELF_SAMPLE:
            self.sample[place] = identity

    def _describe(self, batch: list[ItemRow]) -> None:
        reasons = self._described_or_reasons(batch)
        # An item that is deleted and sent again with the same photo has none for a moment: it is looked at twice.
        again = [row for row in batch if row.id in reasons and self._is_current(row)]
        for row in again:
            reason = self._described_or_reasons([row]).get(row.id)
            # If its photo was replaced or deleted since the page was read, the next pass handles it.
            if reason is not None and self._is_current(row):
                self.refused[row.id] = row.photo_sha256, reason
                self._delete(row.id)

    def _described_or_reasons(self, batch: list[ItemRow]) -> dict[str, str]:
        """Describe items into the new gallery; by id, why the others cannot be."""
        paths = [self.old.photo_path(row.photo or "") for row in batch]
        items, reasons = [], {}
        for row, path, vector in zip(batch, paths, self.describer.describe(paths), strict=True):
            content = _content(path)
            if isinstance(vector, PhotoError) or content is None:
                reason = str(vector).replace(str(path), "The photo") if content else "The photo's file is missing."
                reasons[row.id] = reason
                continue
            self._share(path)
            items.append(StoredItem(row.id, vector, row.payload, (content, path.suffix)))
        if items:
            self._change(lambda each: each.upsert(ItemBatch.of(items)))
            self.described += len(items)
            if self.touched is not None:
                self.touched.update(item.id for item in items)
        return reasons

    def _is_current(self, row: ItemRow) -> bool:
        current = self.old.item(row.id)
        return current is not None and current.photo == row.photo

    def _delete(self, identity: str) -> bool:
        """Delete an item of the new gallery; False if it did not exist."""
        try:
            self._change(partial(Gallery.delete, item_id=identity))
        except Refusal as error:
            if error.kind is not ProblemKind.UNKNOWN_ITEM:
                raise
            return False
        return True

    def _change(self, change: Callable[[Gallery], int]) -> None:
        def checked(gallery: Gallery) -> None:
            self.check_target(gallery)
            change(gallery)

        run_in(self.target, checked, self.cancelled)

    def _share(self, photo: Path) -> None:
        """Link a photo, which never changes, into the new gallery. Where that fails, the write of the item copies it."""
        shared = self.new.photo_path(photo.name)
        with contextlib.suppress(OSError):
            shared.parent.mkdir(exist_ok=True)
            os.link(photo, shared)
            flush_folder(shared.parent)

    def _delete_what_is_gone(self) -> None:
        """Delete the items that no longer exist in the old gallery, or whose photo does not."""
        for page in pages(self.new, self.cancelled):
            self.check()
            known = known_photos(self.old, [row.id for row in page])
            gone = [row.id for row in page if _is_gone(row, known)]
            self.deleted += sum(map(self._delete, gone))


def pages(reader: ItemReader, cancelled: Cancelled) -> Iterator[list[ItemRow]]:
    """All items in the order of their ids, some hundred at a time. Raises JobStopped."""
    after = ""
    while page := reader.page(after, _PAGE):
        if cancelled():
            raise JobStopped
        yield page
        after = page[-1].id


def _is_gone(row: ItemRow, known: Mapping[str, tuple[str | None, Payload]]) -> bool:
    """Whether an item of the new gallery has to go. `known`: of the old one. A vector that was sent for an item without a photo stays."""
    return row.id not in known or (row.photo is not None and known[row.id][0] is None)


def _content(photo: Path) -> bytes | None:
    try:
        return photo.read_bytes()
    except FileNotFoundError:
        return None


def missing_items(page: list[ItemRow], new: ItemReader, refused: dict[str, tuple[str | None, str]]) -> list[ItemRow]:
    """The items of a page whose photo and payload the new gallery does not have, without those refused already."""
    known = known_photos(new, [row.id for row in page])
    return [
        row
        for row in page
        if row.photo is not None
        and known.get(row.id) != (row.photo_sha256, row.payload)
        and refused.get(row.id, (None, ""))[0] != row.photo_sha256
    ]
