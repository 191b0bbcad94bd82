"""The job for a new teacher: re-describe a gallery's photos with the teacher of another gallery, into that gallery.

The old gallery continues to serve, and stays. Changes made to it during the work are caught up: the job passes over it
until a pass finds nothing to do. Then the new gallery is verified; pointing an alias at it is one call.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from askew_client.contract.jobs import RedescribeEstimate, RedescribeResult, RedescribeVerification
from askew_client.contract.problems import ProblemKind
from askew_client.errors import PhotoError
from askew_client.files import flush_folder, write_atomically
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.describe_photos import MAX_REASONS
from askew_server.jobs.gallery_access import BATCH, JobDescriber, known_photos, reading, run_in
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task
from askew_server.jobs.redescribe_check import SELF_SAMPLE, RedescribedGallery, check_redescribed
from askew_server.processes import Limits
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.port import ItemReader
from askew_server.storage.reader import ItemRow

MAX_PASSES = 100
ESTIMATE_SAMPLE = 5
"""How many photos an estimate describes."""

_PAGE = 500
_ORIGIN = "redescribed-from.json"
_INDEX_BYTES_PER_COMPONENT = 1.5
_ROW_BYTES = 300


class RedescribeJob:
    """Fills `parameters["into"]` from the photos of the job's gallery. Run again, it continues where it stopped."""

    name = "redescribe"
    lane: Lane = "describing"

    def __init__(self, galleries: Catalog, *, max_pixels: int, limits: Limits) -> None:
        """`limits`: of describing one photo."""
        self._galleries = galleries
        self._max_pixels = max_pixels
        self._limits = limits

    def check(self, gallery: str, into: str, default_gallery: str) -> tuple[str, str]:
        """Check that `into` may be filled from `gallery`; returns the names of the two galleries, aliases resolved.

        Raises Refusal: unknown-gallery; cannot-describe; gallery-in-use when `into` is already searched;
        gallery-conflict when it is the same gallery, or holds items that did not come from this one.
        """
        source, target = self._galleries.get(gallery), self._galleries.get(into)
        if source.name == target.name:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {source.name!r} cannot be described into itself. Create another one with the new teacher first "
                "(PUT /v1/galleries/NAME).",
            )
        if target.name == self._galleries.resolve(default_gallery):
            raise Refusal(
                ProblemKind.GALLERY_IN_USE,
                f"Gallery {target.name!r} is the default gallery, which is searched. Describe into one that is not "
                "searched yet.",
            )
        self._check_not_named(target)
        target.encoders.facts.require_teacher_file()
        _check_origin(source, target)
        return source.name, target.name

    def estimate(self, gallery: str, into: str, cancelled: Cancelled) -> RedescribeEstimate:
        """Estimate the work by describing a few of the photos. Takes seconds.

        Raises JobStopped soon after `cancelled()` is true, PhotoError if a photo that it tries takes too much.
        """
        source, target = self._galleries.get(gallery), self._galleries.get(into)
        photos, without_photo, sample, payload_bytes = 0, 0, list[Path](), 0
        with reading(source, cancelled) as old, reading(target, cancelled) as new:
            for page in _pages(old, cancelled):
                without_photo += sum(row.photo is None for row in page)
                missing = _missing(page, new, {})
                photos += len(missing)
                payload_bytes += sum(len(json.dumps(row.payload)) for row in missing)
                sample += [old.photo_path(row.photo or "") for row in missing[: ESTIMATE_SAMPLE - len(sample)]]
        seconds = 0.0
        if sample:
            encoder = target.encoders.facts.require_teacher_file()
            with JobDescriber(
                encoder, max_pixels=self._max_pixels, limits=self._limits, cancelled=cancelled
            ) as describer:
                seconds = photos * describer.seconds_per_photo(sample)
        vector_bytes = 2 * target.dim + _INDEX_BYTES_PER_COMPONENT * target.dim
        size = photos * (vector_bytes + _ROW_BYTES) + payload_bytes
        return RedescribeEstimate(
            photos=photos, items_without_photo=without_photo, seconds=round(seconds, 1), bytes=round(size)
        )

    def check_input(self, task: Task) -> None:
        """See JobKind. The input is the gallery's photos, so there is nothing to check."""

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> RedescribeResult:
        """See JobKind. Raises Refusal (verification-failed, gallery-in-use, gallery-conflict)."""
        source = self._galleries.get(task.gallery)
        target = self._galleries.get(str(task.parameters["into"]))
        _record_origin(source, target, cancelled)
        encoder = target.encoders.facts.require_teacher_file()
        with (
            reading(source, cancelled) as old,
            reading(target, cancelled) as new,
            JobDescriber(encoder, max_pixels=self._max_pixels, limits=self._limits, cancelled=cancelled) as describer,
        ):
            work = _Work(target, old, new, describer, report, cancelled, partial(self._check_not_named, target))
            for _ in range(MAX_PASSES):
                if not work.pass_over():
                    break
            filled = RedescribedGallery(target, new, describer, work.describable, work.sample)
            return work.result(check_redescribed(filled, cancelled))

    def _check_not_named(self, target: LiveGallery) -> None:
        """Check that no alias names the new gallery: then it is searched and written to, and nothing may be undone in it.

        Raises Refusal (gallery-in-use).
        """
        aliases = self._galleries.aliases_of(target.name)
        if aliases:
            raise Refusal(
                ProblemKind.GALLERY_IN_USE,
                f"Alias {aliases[0]!r} names gallery {target.name!r}, so it is already searched. Describe into one that is "
                "not searched yet.",
                {"aliases": list(aliases)},
            )


@dataclass
class _Work:
    """The progress of one job through the two galleries.

    `check_target`: raises Refusal if the new gallery may no longer be changed. `refused`: SHA-256 of the photo and the
    reason, by item id. The numbers and `sample` are those of the last pass: `describable` counts photos that were not
    refused, `sample` holds the ids of some of their items.
    """

    target: LiveGallery
    old: ItemReader
    new: ItemReader
    describer: JobDescriber
    report: Report
    cancelled: Cancelled
    check_target: Callable[[], None]
    described: int = 0
    deleted: int = 0
    refused: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    photos: int = 0
    describable: int = 0
    without_photo: int = 0
    sample: list[str] = field(default_factory=list)

    def pass_over(self) -> int:
        """Bring the new gallery up to date with the old one, once; returns how many items that changed."""
        before = self.described + self.deleted
        _, total = self.old.counts()
        draw = random.Random(0)
        self.photos, self.describable, self.without_photo, self.sample = 0, 0, 0, []
        self.check_target()
        for page in _pages(self.old, self.cancelled):
            self.check_target()
            missing = _missing(page, self.new, self.refused)
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
        paths = [self.old.photo_path(row.photo or "") for row in batch]
        items = []
        for row, path, vector in zip(batch, paths, self.describer.describe(paths), strict=True):
            content = _content(path)
            if isinstance(vector, PhotoError) or content is None:
                reason = str(vector).replace(str(path), "The photo") if content else "The photo's file is missing."
                self._refuse(row, reason)
                continue
            self._share(path)
            items.append(StoredItem(row.id, vector, row.payload, (content, path.suffix)))
        if items:
            run_in(self.target, lambda each: each.upsert(ItemBatch.of(items)), self.cancelled)
            self.described += len(items)

    def _refuse(self, row: ItemRow, reason: str) -> None:
        current = self.old.item(row.id)
        # If its photo was replaced or deleted since the page was read, the next pass handles it.
        if current is not None and current.photo == row.photo:
            self.refused[row.id] = row.photo_sha256, reason
            self._delete(row.id)

    def _delete(self, identity: str) -> bool:
        """Delete an item of the new gallery; False if it did not exist."""
        try:
            run_in(self.target, partial(Gallery.delete, item_id=identity), self.cancelled)
        except Refusal as error:
            if error.kind is not ProblemKind.UNKNOWN_ITEM:
                raise
            return False
        return True

    def _share(self, photo: Path) -> None:
        """Link a photo, which never changes, into the new gallery. Where that fails, the write of the item copies it."""
        shared = self.new.photo_path(photo.name)
        with contextlib.suppress(OSError):
            shared.parent.mkdir(exist_ok=True)
            os.link(photo, shared)
            flush_folder(shared.parent)

    def _delete_what_is_gone(self) -> None:
        """Delete the items whose photo no longer exists in the old gallery."""
        for page in _pages(self.new, self.cancelled):
            self.check_target()
            known = known_photos(self.old, [row.id for row in page])
            gone = [row.id for row in page if row.photo is not None and known.get(row.id, (None, {}))[0] is None]
            self.deleted += sum(map(self._delete, gone))


def _pages(reader: ItemReader, cancelled: Cancelled) -> Iterator[list[ItemRow]]:
    after = ""
    while page := reader.page(after, _PAGE):
        if cancelled():
            raise JobStopped
        yield page
        after = page[-1].id


def _content(photo: Path) -> bytes | None:
    try:
        return photo.read_bytes()
    except FileNotFoundError:
        return None


def _missing(page: list[ItemRow], new: ItemReader, refused: dict[str, tuple[str | None, str]]) -> list[ItemRow]:
    """The items of a page whose photo and payload the new gallery does not have, without those refused already."""
    known = known_photos(new, [row.id for row in page])
    return [
        row
        for row in page
        if row.photo is not None
        and known.get(row.id) != (row.photo_sha256, row.payload)
        and refused.get(row.id, (None, ""))[0] != row.photo_sha256
    ]


def _check_origin(source: LiveGallery, target: LiveGallery) -> None:
    """Check that the new gallery is empty, or was filled from this one: other items must not be deleted.

    Raises Refusal (gallery-conflict).
    """
    origin = _read_origin(target, _never)
    if origin == source.name or run_in(target, Gallery.describe, _never).items == 0:
        return
    raise Refusal(
        ProblemKind.GALLERY_CONFLICT,
        f"Gallery {target.name!r} holds items that do not come from gallery {source.name!r}"
        f"{f' but from {origin!r}' if origin else ''}. Describe into an empty gallery.",
        {"expected": source.name, "received": origin},
    )


def _record_origin(source: LiveGallery, target: LiveGallery, cancelled: Cancelled) -> None:
    _check_origin(source, target)
    record = json.dumps({"gallery": source.name}).encode()
    run_in(target, lambda each: write_atomically(each.store.folder / _ORIGIN, record), cancelled)


def _read_origin(target: LiveGallery, cancelled: Cancelled) -> str | None:
    """The gallery that the new one was filled from; None if it was not filled by such a job."""
    path = run_in(target, lambda each: each.store.folder / _ORIGIN, cancelled)
    try:
        return str(json.loads(path.read_bytes())["gallery"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _never() -> bool:
    return False
