"""How jobs read and write galleries: they yield to requests and never give up because a server is busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from askew_client.contract.common import Payload
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import OwnedGallery
from askew_server.jobs.describing import wait_for
from askew_server.jobs.kind import Cancelled, JobStopped
from askew_server.storage.reader import GalleryReader, ItemRow

_SECONDS_BEFORE_NEXT_TRY = 0.5

Answer = TypeVar("Answer")


def run_in(gallery: OwnedGallery, task: Callable[[Gallery], Answer], cancelled: Cancelled) -> Answer:
    """Run a task on a gallery's thread, as soon as there is a place. Raises JobStopped, and what the task raises."""
    while True:
        try:
            return wait_for(gallery.submit(task), cancelled)
        except Refusal as error:
            if error.kind is not ProblemKind.OVERLOADED:
                raise
        if cancelled():
            raise JobStopped
        time.sleep(_SECONDS_BEFORE_NEXT_TRY)


def teacher_file(gallery: OwnedGallery, cancelled: Cancelled) -> Path:
    """The file of a gallery's teacher. Raises Refusal (cannot-describe) when the gallery keeps none."""
    path = run_in(gallery, Gallery.teacher_path, cancelled)
    if path is None:
        raise Refusal(
            ProblemKind.CANNOT_DESCRIBE,
            f"Gallery {gallery.name!r} keeps no file of its teacher {gallery.teacher.encoder_id}, so the server cannot "
            "describe photos for it. Send the teacher's file with PUT /v1/galleries/NAME.",
        )
    return path


@contextmanager
def reading(gallery: OwnedGallery, cancelled: Cancelled) -> Iterator[GalleryReader]:
    """A reader of the job's own: it takes no place from requests, and they wait for nothing that it does."""
    folder = run_in(gallery, lambda each: each.store.folder, cancelled)
    with closing(GalleryReader.open(folder)) as reader:
        yield reader


def known_photos(reader: GalleryReader, ids: Iterable[str]) -> dict[str, tuple[str | None, Payload]]:
    """SHA-256 of the photo, and the payload, of those of these items that there are, by id."""
    rows = [row for row in map(reader.item, ids) if row is not None]
    return {row.id: (photo_sha256(row), row.payload) for row in rows}


def photo_sha256(row: ItemRow) -> str | None:
    """SHA-256 of an item's photo, as hex digits; None where it has none."""
    return None if row.photo is None else Path(row.photo).stem
