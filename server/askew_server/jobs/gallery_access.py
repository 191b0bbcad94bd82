"""How jobs read, write and describe: requests go first, and a busy server makes a job wait, not fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from askew_client.contract.common import Payload
from askew_client.contract.problems import ProblemKind
from askew_server.encoders.describer import Described, Describer, refusal_of
from askew_server.errors import Refusal
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.item_changes import AliasMoved
from askew_server.gallery.live import LiveGallery
from askew_server.index.port import VectorIndex
from askew_server.jobs.kind import Cancelled, JobStopped
from askew_server.processes import ChildLost, ChildStopped, LimitExceeded, Limits
from askew_server.storage.port import ItemReader

BATCH = 16
"""Photos that are described, and committed, together."""

_SECONDS_BEFORE_NEXT_TRY = 0.5
_SECONDS_BETWEEN_CHECKS = 0.25

Answer = TypeVar("Answer")


def when_there_is_room(attempt: Callable[[], Answer], cancelled: Cancelled) -> Answer:
    """The result of an attempt, made again while the server is too busy, or takes no changes for some seconds.

    Raises JobStopped, and what the attempt raises: AliasMoved as well, because waiting does not end that.
    """
    while True:
        try:
            return attempt()
        except AliasMoved:
            raise
        except Refusal as error:
            if error.kind not in {ProblemKind.OVERLOADED, ProblemKind.GALLERY_HELD}:
                raise
        if cancelled():
            raise JobStopped
        time.sleep(_SECONDS_BEFORE_NEXT_TRY)


def run_in(gallery: LiveGallery, task: Callable[[Gallery], Answer], cancelled: Cancelled) -> Answer:
    """Run a task on a gallery's writer as soon as there is a place. Raises JobStopped, and what the task raises."""
    return when_there_is_room(lambda: wait_for(gallery.submit(task), cancelled), cancelled)


@contextmanager
def awake(gallery: LiveGallery, cancelled: Cancelled) -> Iterator[VectorIndex]:
    """Hold a gallery awake as soon as there is a place; yields its index. Raises JobStopped, and as LiveGallery.awake."""
    with ExitStack() as stack:
        yield when_there_is_room(lambda: stack.enter_context(gallery.awake()), cancelled)


@contextmanager
def reading(gallery: LiveGallery, cancelled: Cancelled) -> Iterator[ItemReader]:
    """A reader for the job alone: it takes no place from requests, and they need not wait for it."""
    with closing(run_in(gallery, lambda each: each.store.open_reader(), cancelled)) as reader:
        yield reader


def known_photos(reader: ItemReader, ids: Iterable[str]) -> dict[str, tuple[str | None, Payload]]:
    """SHA-256 of the photo, and the payload, of the items among these ids that exist, by id."""
    rows = [row for row in map(reader.item, ids) if row is not None]
    return {row.id: (row.photo_sha256, row.payload) for row in rows}


class JobDescriber:
    """The child process that describes photos for one job. Requests have another one; this one ends with the job."""

    def __init__(self, encoder: Path, *, max_pixels: int, limits: Limits, cancelled: Cancelled) -> None:
        """`encoder`: the teacher's file. `limits`: of each photo."""
        self._encoder = encoder
        self._cancelled = cancelled
        # One batch at a time; a place is free again a moment after its answer is there.
        self._describer = Describer(max_waiting=4, max_pixels=max_pixels, limits=limits)

    def describe(self, photos: list[Path]) -> list[Described]:
        """A vector, float32 [D], or a PhotoError for each photo. Raises JobStopped, EncoderError.

        When the child ends, or is stopped by a limit, the photos that it had not described yet are tried one by one, so
        that only the photo that ends it is lost.
        """
        if not photos:
            return []
        described: list[Described] = []
        try:
            self._describe(photos, described.append)
        except (ChildLost, LimitExceeded):
            described += [self._alone(photo) for photo in photos[len(described) :]]
        return described

    def seconds_per_photo(self, photos: list[Path]) -> float:
        """Seconds per photo when many are described, measured on these. Raises JobStopped, EncoderError, PhotoError."""
        try:
            return wait_for(self._describer.time_photos(self._encoder, photos), self._cancelled)
        except (ChildLost, LimitExceeded) as error:
            raise refusal_of(error) from None
        except ChildStopped:
            raise JobStopped from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._describer.close()

    def _alone(self, photo: Path) -> Described:
        described: list[Described] = []
        try:
            self._describe([photo], described.append)
        except (ChildLost, LimitExceeded) as error:
            return refusal_of(error)
        return described[0]

    def _describe(self, photos: list[Path], hear: Callable[[Described], None]) -> None:
        wait_for(self._describer.describe_files(self._encoder, photos, hear), self._cancelled)


def wait_for(future: Future[Answer], cancelled: Cancelled) -> Answer:
    """Wait for a task of another thread or process. Raises JobStopped once the job is cancelled, and what the task raises."""
    while True:
        try:
            return future.result(timeout=_SECONDS_BETWEEN_CHECKS)
        except TimeoutError:
            if future.done():
                raise
            if cancelled():
                raise JobStopped from None
