"""The day the teacher changes: describe a gallery's photos anew, by the teacher of another gallery, into that gallery.

The old gallery serves on meanwhile, and stays. What is written to it during the work is caught up: passes over it go on
until one finds nothing to do. Then the new gallery is verified; letting an alias name it is one call.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from askew_client.contract.jobs import RedescribeEstimate
from askew_client.contract.problems import ProblemKind
from askew_client.errors import PhotoError
from askew_client.files import flush_folder, write_atomically
from askew_server.encoders.describer import Described
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.gallery.ranking import ranked
from askew_server.jobs.describe_photos import MOST_REFUSED_LISTED
from askew_server.jobs.gallery_access import BATCH, JobDescriber, known_photos, photo_sha256, reading, run_in
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Result, Task
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.reader import GalleryReader, ItemRow

MOST_PASSES = 100
SELF_SAMPLE = 100
"""How many items must find themselves first, at the end."""
FRESH_SAMPLE = 5
"""How many photos are described once more, at the end."""
FRESH_COSINE_FLOOR = 0.999
ESTIMATE_SAMPLE = 5

_PAGE = 500
_ORIGIN = "redescribed-from.json"
_INDEX_BYTES_PER_COMPONENT = 1.5
_ROW_BYTES = 300


class RedescribeJob:
    """Fills `parameters["into"]` from the photos of the job's gallery. Run again, it goes on where it was."""

    name = "redescribe"
    lane: Lane = "describing"

    def __init__(self, galleries: Catalog, *, max_pixels: int) -> None:
        self._galleries = galleries
        self._max_pixels = max_pixels

    def check(self, gallery: str, into: str, default_gallery: str) -> tuple[str, str]:
        """The two galleries' own names, if the one may be filled from the other.

        Raises Refusal: unknown-gallery; cannot-describe; gallery-in-use when `into` is searched already;
        gallery-conflict when it is the same gallery, or holds what did not come from this one.
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
                f"Gallery {target.name!r} is the default one, which is searched. Describe into one that nobody searches yet.",
            )
        self._refuse_named(target)
        target.encoders.facts.require_teacher_file()
        _refuse_other_origin(source, target)
        return source.name, target.name

    def estimate(self, gallery: str, into: str) -> RedescribeEstimate:
        """How much work it is, by describing a few of the photos. Takes seconds."""
        source, target = self._galleries.get(gallery), self._galleries.get(into)
        photos, bare, sample, payload_bytes = 0, 0, list[Path](), 0
        with reading(source, _never) as old, reading(target, _never) as new:
            for page in _pages(old, _never):
                bare += sum(row.photo is None for row in page)
                missing = _missing(page, new, {})
                photos += len(missing)
                payload_bytes += sum(len(json.dumps(row.payload)) for row in missing)
                sample += [old.photo_path(row.photo or "") for row in missing[: ESTIMATE_SAMPLE - len(sample)]]
        seconds = 0.0
        if sample:
            encoder = target.encoders.facts.require_teacher_file()
            with JobDescriber(encoder, max_pixels=self._max_pixels, cancelled=_never) as describer:
                seconds = photos * describer.seconds_per_photo(sample)
        vector_bytes = 2 * target.dim + _INDEX_BYTES_PER_COMPONENT * target.dim
        size = photos * (vector_bytes + _ROW_BYTES) + payload_bytes
        return RedescribeEstimate(photos=photos, items_without_photo=bare, seconds=round(seconds, 1), bytes=round(size))

    def check_input(self, task: Task) -> None:
        """See JobKind: the photos lie in the gallery."""

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        """See JobKind. The result: what was described and deleted, what could not be, and the verification."""
        source = self._galleries.get(task.gallery)
        target = self._galleries.get(str(task.parameters["into"]))
        _note_origin(source, target, cancelled)
        encoder = target.encoders.facts.require_teacher_file()
        with (
            reading(source, cancelled) as old,
            reading(target, cancelled) as new,
            JobDescriber(encoder, max_pixels=self._max_pixels, cancelled=cancelled) as describer,
        ):
            work = _Work(target, old, new, describer, report, cancelled)
            for _ in range(MOST_PASSES):
                self._refuse_named(target)
                if not work.pass_over(partial(self._refuse_named, target)):
                    break
            verification = _verify(work)
        return {**work.result(), "verification": verification}

    def _refuse_named(self, target: LiveGallery) -> None:
        """An alias on the new gallery means that it is searched and written to already: nothing may be undone in it."""
        aliases = self._galleries.aliases_of(target.name)
        if aliases:
            raise Refusal(
                ProblemKind.GALLERY_IN_USE,
                f"Alias {aliases[0]!r} names gallery {target.name!r}, so it is searched already. Describe into one that "
                "nobody searches yet.",
                {"aliases": list(aliases)},
            )


@dataclass
class _Work:
    """One job's way through the two galleries."""

    target: LiveGallery
    old: GalleryReader
    new: GalleryReader
    describer: JobDescriber
    report: Report
    cancelled: Cancelled
    described: int = 0
    deleted: int = 0
    refused: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    photos: int = 0
    describable: int = 0
    without_photo: int = 0
    sample: list[str] = field(default_factory=list)

    def pass_over(self, check: partial[None]) -> int:
        """Bring the new gallery up to date with the old one, once; how many items that changed."""
        before = self.described + self.deleted
        _, total = self.old.counts()
        draw = random.Random(0)
        self.photos, self.describable, self.without_photo, self.sample = 0, 0, 0, []
        for page in _pages(self.old, self.cancelled):
            check()
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
        self._delete_what_is_gone(check)
        return self.described + self.deleted - before

    def result(self) -> Result:
        """What was done, and what could not be."""
        reasons: dict[str, JsonValue] = {identity: why for identity, (_, why) in self.refused.items()}
        return {
            "described": self.described,
            "deleted": self.deleted,
            "items_without_photo": self.without_photo,
            "refused": len(reasons),
            "reasons": dict(list(reasons.items())[:MOST_REFUSED_LISTED]),
        }

    def _draw(self, identity: str, draw: random.Random) -> None:
        """Keep an even sample of the items that were described."""
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
                current = self.old.item(row.id)
                # Else replaced or deleted meanwhile; the next pass sees what became of it.
                if current is not None and current.photo == row.photo:
                    reason = str(vector).replace(str(path), "The photo") if content else "The photo's file is missing."
                    self.refused[row.id] = photo_sha256(row), reason
                    self._delete(row.id)
                continue
            self._share(path)
            items.append(StoredItem(row.id, vector, row.payload, (content, path.suffix)))
        if items:
            run_in(self.target, lambda each: each.upsert(ItemBatch.of(items)), self.cancelled)
            self.described += len(items)

    def _delete(self, identity: str) -> bool:
        """Delete an item of the new gallery; False when there was none."""
        try:
            run_in(self.target, partial(Gallery.delete, item_id=identity), self.cancelled)
        except Refusal as error:
            if error.kind is not ProblemKind.UNKNOWN_ITEM:
                raise
            return False
        return True

    def _share(self, photo: Path) -> None:
        """Let the new gallery have the same file, which never changes; where a disk cannot, the write copies it."""
        shared = self.new.photo_path(photo.name)
        with contextlib.suppress(OSError):
            shared.parent.mkdir(exist_ok=True)
            os.link(photo, shared)
            flush_folder(shared.parent)

    def _delete_what_is_gone(self, check: partial[None]) -> None:
        for page in _pages(self.new, self.cancelled):
            check()
            known = known_photos(self.old, [row.id for row in page])
            gone = [row.id for row in page if row.photo is not None and known.get(row.id, (None, {}))[0] is None]
            self.deleted += sum(map(self._delete, gone))


def _pages(reader: GalleryReader, cancelled: Cancelled) -> Iterator[list[ItemRow]]:
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


def _missing(page: list[ItemRow], new: GalleryReader, refused: dict[str, tuple[str | None, str]]) -> list[ItemRow]:
    """The items of a page that have a photo which the new gallery does not have, or not with this payload."""
    known = known_photos(new, [row.id for row in page])
    return [
        row
        for row in page
        if row.photo is not None
        and known.get(row.id) != (photo_sha256(row), row.payload)
        and refused.get(row.id, (None, ""))[0] != photo_sha256(row)
    ]


def _verify(work: _Work) -> dict[str, JsonValue]:
    """Whether the new gallery holds every photo, finds its items, and holds what its teacher makes of their photos.

    Raises Refusal (verification-failed).
    """
    _, items = work.new.counts()
    rows = [row for row in map(work.new.item, work.sample) if row is not None]
    found = sum(_finds_itself(work, row) for row in rows)
    again = [row for row in rows[:: max(1, len(rows) // FRESH_SAMPLE)] if row.photo is not None][:FRESH_SAMPLE]
    fresh = work.describer.describe([work.new.photo_path(row.photo or "") for row in again])
    cosines = [_cosine(_vector(row), vector) for row, vector in zip(again, fresh, strict=True)]
    verification: dict[str, JsonValue] = {
        "items": items,
        "expected": work.describable,
        "find_themselves": found,
        "searched": len(work.sample),
        "described_again": len(cosines),
        "lowest_cosine": round(min(cosines), 6) if cosines else None,
    }
    faults = []
    if items != work.describable:
        faults.append(f"it has {items} items with a photo where {work.describable} were expected")
    if found != len(work.sample):
        faults.append(f"{found} of {len(work.sample)} items find themselves first")
    if cosines and min(cosines) < FRESH_COSINE_FLOOR:
        faults.append(f"a photo described again comes out at a cosine of {min(cosines):.4f} to what is stored")
    if faults:
        raise Refusal(
            ProblemKind.VERIFICATION_FAILED,
            f"Gallery {work.target.name!r} does not stand up to the check: {'; '.join(faults)}. Do not switch to it. If "
            f"the old gallery was being written to, send the request again once it is not.",
            {"verification": verification},
        )
    return verification


def _finds_itself(work: _Work, row: ItemRow) -> bool:
    query = _vector(row)
    (labels,) = work.target.index.search_blocking(query[None], 1).labels
    hits = ranked(work.new.candidates(labels[labels >= 0].tolist()), query)
    own_score = float(query.astype(np.float64) @ query.astype(np.float64))
    # Another item with the very same vector is as good an answer.
    return bool(hits) and (hits[0].id == row.id or hits[0].score >= min(1.0, own_score) - 1e-5)


def _vector(row: ItemRow) -> NDArray[np.float32]:
    return np.frombuffer(row.vector, dtype="<f2").astype(np.float32)


def _cosine(stored: NDArray[np.float32], described: Described) -> float:
    if isinstance(described, PhotoError):
        return 0.0
    one, other = stored.astype(np.float64), described.astype(np.float64)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _refuse_other_origin(source: LiveGallery, target: LiveGallery) -> None:
    """Items that a redescription did not put there are not its to delete: it fills an empty gallery, or its own."""
    origin = _read_origin(target, _never)
    if origin == source.name or run_in(target, Gallery.describe, _never).items == 0:
        return
    raise Refusal(
        ProblemKind.GALLERY_CONFLICT,
        f"Gallery {target.name!r} holds items that do not come from gallery {source.name!r}"
        f"{f' but from {origin!r}' if origin else ''}. Describe into an empty gallery.",
        {"expected": source.name, "received": origin},
    )


def _note_origin(source: LiveGallery, target: LiveGallery, cancelled: Cancelled) -> None:
    _refuse_other_origin(source, target)
    note = json.dumps({"gallery": source.name}).encode()
    run_in(target, lambda each: write_atomically(each.store.folder / _ORIGIN, note), cancelled)


def _read_origin(target: LiveGallery, cancelled: Cancelled) -> str | None:
    path = run_in(target, lambda each: each.store.folder / _ORIGIN, cancelled)
    try:
        return str(json.loads(path.read_bytes())["gallery"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _never() -> bool:
    return False
