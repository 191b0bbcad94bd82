"""Describe many photos for a job, in a child process of the job's own, whatever the photos do to it."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from askew_client.errors import UnreadablePhoto
from askew_server.encoders.describer import Described, Describer
from askew_server.jobs.kind import Cancelled, JobStopped

BATCH = 16
"""Photos described, and committed, together."""
_SECONDS_BETWEEN_LOOKS = 0.25

Answer = TypeVar("Answer")


class JobDescriber:
    """The describing child of one job: it is not the one that answers requests, and ends with the job."""

    def __init__(self, encoder: Path, *, max_pixels: int, cancelled: Cancelled) -> None:
        """`encoder`: the file that describes."""
        self._encoder = encoder
        self._cancelled = cancelled
        self._describer = Describer(max_waiting=1, max_pixels=max_pixels)

    def describe(self, photos: list[Path]) -> list[Described]:
        """A vector, float32 [D], or a PhotoError for each photo. Raises JobStopped, EncoderError.

        When the child ends over a batch, its photos are tried one by one, so that one photo costs itself only.
        """
        try:
            return self._batch(photos)
        except BrokenProcessPool:
            return [self._alone(photo) for photo in photos]

    def seconds_per_photo(self, photos: list[Path]) -> float:
        """How long a photo takes when many are described, measured on these."""
        return wait_for(self._describer.time_photos(self._encoder, photos), self._cancelled)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._describer.kill()

    def _alone(self, photo: Path) -> Described:
        try:
            return self._batch([photo])[0]
        except BrokenProcessPool:
            return UnreadablePhoto("The process that describes photos ended while it was at work on this one.")

    def _batch(self, photos: list[Path]) -> list[Described]:
        return wait_for(self._describer.describe_files(self._encoder, photos), self._cancelled)


def wait_for(future: Future[Answer], cancelled: Cancelled) -> Answer:
    """The answer of a task elsewhere. Raises JobStopped as soon as the job is cancelled, and what the task raised."""
    while True:
        try:
            return future.result(timeout=_SECONDS_BETWEEN_LOOKS)
        except TimeoutError:
            if future.done():
                raise
            if cancelled():
                raise JobStopped from None
