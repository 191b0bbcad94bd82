"""The job for a new teacher: re-describe a gallery's photos with the teacher of another gallery, into that gallery.

The old gallery continues to serve, and stays. Changes made to it during the work are caught up: the job passes over it
until a pass finds nothing to do. Then the new gallery is verified; pointing an alias at it is one call.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from askew_client.contract.jobs import RedescribeEstimate, RedescribeResult
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.gallery_access import JobDescriber, awake, reading, run_in
from askew_server.jobs.kind import Cancelled, Lane, Report, Task
from askew_server.jobs.redescribe_check import RedescribedGallery, check_redescribed
from askew_server.jobs.redescription import Redescription, missing_items, pages
from askew_server.processes import Limits
from askew_server.storage.facts import read_origin, write_origin

MAX_PASSES = 100
ESTIMATE_SAMPLE = 5
"""How many photos an estimate describes."""

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
        self.check_not_named(target)
        target.encoders.facts.require_teacher_file()
        check_origin(source, target)
        return source.name, target.name

    def estimate(self, gallery: str, into: str, cancelled: Cancelled) -> RedescribeEstimate:
        """Estimate the work by describing a few of the photos. Takes seconds.

        Raises JobStopped soon after `cancelled()` is true, PhotoError if a photo that it tries takes too much.
        """
        source, target = self._galleries.get(gallery), self._galleries.get(into)
        photos, without_photo, sample, payload_bytes = 0, 0, list[Path](), 0
        with reading(source, cancelled) as old, reading(target, cancelled) as new:
            for page in pages(old, cancelled):
                without_photo += sum(row.photo is None for row in page)
                missing = missing_items(page, new, {})
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
        record_origin(source, target, cancelled)
        encoder = target.encoders.facts.require_teacher_file()
        with (
            # A reader of a gallery in Milvus has that gallery's connection.
            awake(source, cancelled),
            awake(target, cancelled),
            reading(source, cancelled) as old,
            reading(target, cancelled) as new,
            JobDescriber(encoder, max_pixels=self._max_pixels, limits=self._limits, cancelled=cancelled) as describer,
        ):
            check_target = partial(self.check_filling, source, target)
            work = Redescription(target, old, new, describer, report, cancelled, check_target)
            for _ in range(MAX_PASSES):
                if not work.pass_over():
                    break
            filled = RedescribedGallery(target, new, describer, work.describable, work.sample)
            return work.result(check_redescribed(filled, cancelled))

    def check_filling(self, source: LiveGallery, target: LiveGallery, filled: Gallery) -> None:
        """Check that the new gallery is still filled from this one, and by nobody else. On the writer of the new gallery.

        Raises Refusal (gallery-in-use, gallery-conflict).
        """
        self.check_not_named(target)
        origin = _origin_of(filled)
        if origin != source.name:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {target.name!r} was to be filled from gallery {source.name!r}, but another job fills it from "
                f"{origin!r} by now. Describe each gallery into one of its own.",
                {"expected": source.name, "received": origin},
            )

    def check_not_named(self, target: LiveGallery) -> None:
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


def check_origin(source: LiveGallery, target: LiveGallery) -> None:
    """Check that the new gallery is empty, or was filled from this one: other items must not be deleted.

    Raises Refusal (gallery-conflict).
    """
    origin = run_in(target, _origin_of, _never)
    if origin == source.name or run_in(target, Gallery.describe, _never).items == 0:
        return
    raise Refusal(
        ProblemKind.GALLERY_CONFLICT,
        f"Gallery {target.name!r} holds items that do not come from gallery {source.name!r}"
        f"{f' but from {origin!r}' if origin else ''}. Describe into an empty gallery.",
        {"expected": source.name, "received": origin},
    )


def record_origin(source: LiveGallery, target: LiveGallery, cancelled: Cancelled) -> None:
    """Record in the new gallery that it is filled from this one. Raises Refusal (gallery-conflict), JobStopped."""
    check_origin(source, target)
    run_in(target, lambda each: write_origin(each.store.folder, source.name), cancelled)


def _origin_of(target: Gallery) -> str | None:
    """The gallery that the new one was filled from; None if it was not filled by such a job. On the writer of the new one."""
    return read_origin(target.store.folder)


def _never() -> bool:
    return False
