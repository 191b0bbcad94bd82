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
from askew_client.contract.schemas import Item
from askew_client.errors import PhotoError
from askew_client.files import flush_folder, write_atomically
from askew_server.errors import Refusal
from askew_server.galleries import Galleries
from askew_server.gallery import Gallery
from askew_server.jobs.describing import BATCH, JobDescriber
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Result, Task
from askew_server.jobs.photos import MOST_REFUSED_LISTED
from askew_server.jobs.writing import known_photos, run_in, teacher_file
from askew_server.owned import OwnedGallery
from askew_server.store import StoredItem

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

    def __init__(self, galleries: Galleries, *, max_pixels: int) -> None:
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
        teacher_file(target, _never)
        _refuse_other_origin(source, target)
        return source.name, target.name

    def estimate(self, gallery: str, into: str) -> RedescribeEstimate:
        """How much work it is, by describing a few of the photos. Takes seconds."""
        source, target = self._galleries.get(gallery), self._galleries.get(into)
        photos, bare, sample, payload_bytes = 0, 0, list[str](), 0
        for page in _pages(source, _never):
            bare += sum(not item.has_photo for item in page)
            missing = _missing(page, target, {}, _never)
            photos += len(missing)
            payload_bytes += sum(len(json.dumps(item.payload)) for item in missing)
            sample += [item.id for item in missing[: ESTIMATE_SAMPLE - len(sample)]]
        seconds = 0.0
        if sample:
            paths = list(_photo_paths(source, sample, _never).values())
            with JobDescriber(teacher_file(target, _never), max_pixels=self._max_pixels, cancelled=_never) as describer:
                seconds = photos * describer.seconds_per_photo(paths)
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
        with JobDescriber(
            teacher_file(target, cancelled), max_pixels=self._max_pixels, cancelled=cancelled
        ) as describer:
            work = _Work(source, target, describer, report, cancelled)
            for _ in range(MOST_PASSES):
                self._refuse_named(target)
                if not work.pass_over(partial(self._refuse_named, target)):
                    break
            verification = _verify(work)
        return {**work.result(), "verification": verification}

    def _refuse_named(self, target: OwnedGallery) -> None:
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

    source: OwnedGallery
    target: OwnedGallery
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
        total = run_in(self.source, Gallery.describe, self.cancelled).photos
        draw = random.Random(0)
        self.photos, self.describable, self.without_photo, self.sample = 0, 0, 0, []
        for page in _pages(self.source, self.cancelled):
            check()
            missing = _missing(page, self.target, self.refused, self.cancelled)
            settled = self.photos + sum(item.has_photo for item in page) - len(missing)
            for start in range(0, len(missing), BATCH):
                self._describe(missing[start : start + BATCH])
                self.report(min(total, settled + start + BATCH), total)
            for item in page:
                self.photos += item.has_photo
                self.describable += item.has_photo and item.id not in self.refused
                self.without_photo += not item.has_photo
                self._draw(item, draw)
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

    def _draw(self, item: Item, draw: random.Random) -> None:
        """Keep an even sample of the items that were described."""
        if not item.has_photo or item.id in self.refused:
            return
        if len(self.sample) < SELF_SAMPLE:
            self.sample.append(item.id)
        elif (place := draw.randrange(self.photos)) < SELF_SAMPLE:
            self.sample[place] = item.id

    def _describe(self, batch: list[Item]) -> None:
        paths = _photo_paths(self.source, [item.id for item in batch], self.cancelled)
        present = [item for item in batch if item.id in paths]
        vectors = self.describer.describe([paths[item.id] for item in present])
        items = []
        for item, vector in zip(present, vectors, strict=True):
            path = paths[item.id]
            if not path.exists():
                # Replaced or deleted meanwhile; the next pass sees what became of it.
                continue
            if isinstance(vector, PhotoError):
                self.refused[item.id] = item.photo_sha256, str(vector).replace(str(path), "The photo")
                self._delete(item.id)
                continue
            self._share(path)
            items.append(StoredItem(item.id, vector, item.payload, (path.read_bytes(), path.suffix)))
        if items:
            run_in(self.target, lambda each: each.upsert(items), self.cancelled)
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
        shared = run_in(self.target, lambda each: each.store.photo_path(photo.name), self.cancelled)
        with contextlib.suppress(OSError):
            shared.parent.mkdir(exist_ok=True)
            os.link(photo, shared)
            flush_folder(shared.parent)

    def _delete_what_is_gone(self, check: partial[None]) -> None:
        for page in _pages(self.target, self.cancelled):
            check()
            known = known_photos(self.source, [item.id for item in page], self.cancelled)
            gone = [item.id for item in page if item.has_photo and known.get(item.id, (None, {}))[0] is None]
            for identity in gone:
                self.deleted += self._delete(identity)


def _pages(gallery: OwnedGallery, cancelled: Cancelled) -> Iterator[list[Item]]:
    cursor: str | None = None
    while True:
        if cancelled():
            raise JobStopped
        page = run_in(gallery, partial(Gallery.page, cursor=cursor, limit=_PAGE, with_vectors=False), cancelled)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _missing(
    page: list[Item], target: OwnedGallery, refused: dict[str, tuple[str | None, str]], cancelled: Cancelled
) -> list[Item]:
    """The items of a page that have a photo which the new gallery does not have, or not with this payload."""
    known = known_photos(target, [item.id for item in page], cancelled)
    return [
        item
        for item in page
        if item.has_photo
        and known.get(item.id) != (item.photo_sha256, item.payload)
        and refused.get(item.id, (None, ""))[0] != item.photo_sha256
    ]


def _photo_paths(gallery: OwnedGallery, ids: list[str], cancelled: Cancelled) -> dict[str, Path]:
    """The photo files of those of these items that have one still."""

    def read(each: Gallery) -> dict[str, Path]:
        rows = [row for row in map(each.store.item, ids) if row is not None]
        return {row.id: each.store.photo_path(row.photo) for row in rows if row.photo is not None}

    return run_in(gallery, read, cancelled)


def _verify(work: _Work) -> dict[str, JsonValue]:
    """Whether the new gallery holds every photo, finds its items, and holds what its teacher makes of their photos.

    Raises Refusal (verification-failed).
    """
    cancelled = work.cancelled
    items = sum(item.has_photo for page in _pages(work.target, cancelled) for item in page)
    vectors = run_in(work.target, partial(_stored_vectors, ids=work.sample), cancelled)
    found = 0
    for identity, vector in vectors.items():
        # Another item with the very same vector is as good an answer.
        own_score = float(vector.astype(np.float64) @ vector.astype(np.float64))
        search = partial(Gallery.search, queries=vector[None], limit=1, threshold=None, condition=None)
        hits = run_in(work.target, search, cancelled).hits[0]
        found += bool(hits) and (hits[0].id == identity or hits[0].score >= own_score - 1e-5)
    fresh_ids = [identity for identity in work.sample if identity in vectors][:: max(1, len(vectors) // FRESH_SAMPLE)]
    paths = _photo_paths(work.target, fresh_ids[:FRESH_SAMPLE], cancelled)
    again = zip(paths, work.describer.describe(list(paths.values())), strict=True)
    cosines = [0.0 if isinstance(vector, PhotoError) else _cosine(vectors[name], vector) for name, vector in again]
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
            f"gallery {work.source.name!r} was being written to, send the request again once it is not.",
            {"verification": verification},
        )
    return verification


def _stored_vectors(gallery: Gallery, ids: list[str]) -> dict[str, NDArray[np.float32]]:
    rows = [row for row in map(gallery.store.item, ids) if row is not None]
    return {row.id: np.frombuffer(row.vector, dtype="<f2").astype(np.float32) for row in rows}


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    first, second = one.astype(np.float64), other.astype(np.float64)
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def _refuse_other_origin(source: OwnedGallery, target: OwnedGallery) -> None:
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


def _note_origin(source: OwnedGallery, target: OwnedGallery, cancelled: Cancelled) -> None:
    _refuse_other_origin(source, target)
    note = json.dumps({"gallery": source.name}).encode()
    run_in(target, lambda each: write_atomically(each.store.folder / _ORIGIN, note), cancelled)


def _read_origin(target: OwnedGallery, cancelled: Cancelled) -> str | None:
    path = run_in(target, lambda each: each.store.folder / _ORIGIN, cancelled)
    try:
        return str(json.loads(path.read_bytes())["gallery"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _never() -> bool:
    return False
