"""A gallery and its threads.

The writer thread owns the database connection that writes, and runs one task after another. The index has its own
thread. All reads use separate connections, which see what was committed and never wait for a write.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

from askew_client.contract.galleries import GalleryDescription
from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchOptions
from askew_client.contract.space import is_space_id
from askew_server.errors import Refusal
from askew_server.gallery.answer_size import AnswerSize
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.search import GallerySearch, SearchResult
from askew_server.index.port import VectorIndex, gallery_closed
from askew_server.index.types import IndexStatistics, Vectors
from askew_server.storage.encoders import EncoderStore
from askew_server.storage.filters import PayloadFilter
from askew_server.storage.reader import GalleryReader

Result = TypeVar("Result")

LONGEST_SEARCH = 10.0
"""Seconds that closing a gallery waits for searches under way."""

_POLL_SECONDS = 0.005


class LiveGallery:
    """A gallery in service, safe to use from the event loop and from any thread except its writer.

    `name`, `space`, `dim` and `teacher` never change. `encoders`: any thread may read its facts.
    """

    def __init__(self, gallery: Gallery, writer: ThreadPoolExecutor, max_waiting: int) -> None:
        self._gallery = gallery
        self.name: str = gallery.name
        self.space: str = gallery.space
        self.dim: int = gallery.dim
        self.teacher: Manifest = gallery.teacher
        self.encoders: EncoderStore = gallery.encoders
        self.index: VectorIndex = gallery.index
        self._writer = writer
        self._max_waiting = max_waiting
        self._places = threading.BoundedSemaphore(max_waiting)
        self._searching = 0
        self._is_closed = False
        # The event loop has one reader; the reading thread has the other one and the filter.
        self._loop_reader = GalleryReader.open(gallery.store.folder)
        self._thread_reader = GalleryReader.open(gallery.store.folder)
        self._payload_filter = PayloadFilter(self._thread_reader)
        self._reading = ThreadPoolExecutor(1, f"read-{gallery.name}")
        self._search = GallerySearch(gallery.index, self._loop_reader, self.read)

    @classmethod
    def open(cls, name: str, opening: Callable[[], Gallery], max_waiting: int) -> Self:
        """Start the threads and open the gallery. Raises DamagedGallery, EngineMissing."""
        writer = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name}")
        try:
            gallery = writer.submit(opening).result()
        except BaseException:
            writer.shutdown()
            raise
        return cls(gallery, writer, max_waiting)

    @property
    def written_and_deleted(self) -> tuple[int, int]:
        """How many items were inserted or replaced, and how many deleted, since the gallery was opened."""
        return self._gallery.written, self._gallery.deleted

    @property
    def waiting(self) -> int:
        """How many searches wait or are under way. Read it on the event loop."""
        return self._searching

    @property
    def is_full(self) -> bool:
        """Whether a further search would be refused."""
        return self._searching >= self._max_waiting

    def check_space(self, space: str | None, *, allow_missing: bool) -> None:
        """Refuse a vector from another space, and, unless `allow_missing`, one without a space.

        Raises Refusal (space-mismatch, space-missing).
        """
        if space == self.space or (space is None and allow_missing):
            return
        if space is None:
            raise Refusal(
                ProblemKind.SPACE_MISSING,
                f"Expected the space of the vector ({self.space} for gallery {self.name!r}), but none was named. Send the "
                "encoder's space_id as `space`, or in the header Askew-Space.",
                {"expected": self.space},
            )
        admitted = self.encoders.facts.admitted
        form = "" if is_space_id(space) else " (which is not a space id)"
        raise Refusal(
            ProblemKind.SPACE_MISMATCH,
            f"Gallery {self.name!r} is in space {self.space}, but the vector comes from {space[:80]}{form}. "
            f"Describe the photo with one of the admitted encoders: {', '.join(admitted)}.",
            {
                "expected": self.space,
                "received": space[:80],
                "admitted_encoders": admitted,
                "hint": "GET /v1/encoders lists the admitted encoders with their files.",
            },
        )

    def check_teacher(self, teacher: Manifest) -> None:
        """Refuse (gallery-conflict) an encoder that could not have described this gallery's items."""
        known = self.teacher
        if known.space_id != teacher.space_id:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {self.name!r} is in space {known.space_id} of {known.encoder_id}, but {teacher.encoder_id} "
                f"makes vectors in {teacher.space_id}. Choose another gallery name for it.",
                {"expected": known.space_id, "received": teacher.space_id},
            )
        expected = ("teacher", known.photo_size, known.scales)
        if (teacher.role, teacher.photo_size, teacher.scales) != expected:
            raise Refusal(
                ProblemKind.GALLERY_CONFLICT,
                f"Gallery {self.name!r} is described by {known.encoder_id} at {known.photo_size} px, scales "
                f"{known.scales}, but {teacher.encoder_id} is a {teacher.role} at {teacher.photo_size} px, scales "
                f"{teacher.scales}. Describe a gallery with one teacher at one size.",
                {"expected": known.encoder_id, "received": teacher.encoder_id},
            )

    async def statistics(self) -> IndexStatistics:
        """The size and state of the index; takes its turn among the searches."""
        self._take_search_place()
        try:
            return await asyncio.to_thread(self.index.statistics)
        finally:
            self._searching -= 1

    def submit(self, task: Callable[[Gallery], Result]) -> Future[Result]:
        """Queue a task for the writer. Raises Refusal (overloaded) if too many are waiting."""
        return self._queued(self._writer, lambda: task(self._gallery))

    def run(self, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on the writer and wait for it. Never call it on the event loop. Raises Refusal (overloaded)."""
        return self.submit(task).result()

    async def write(self, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on the writer. If the caller is cancelled before it begins, so is the task. Raises Refusal (overloaded)."""
        return await asyncio.wrap_future(self.submit(task))

    async def read(self, task: Callable[[GalleryReader, PayloadFilter], Result]) -> Result:
        """Read the gallery without waiting for writes. Raises Refusal (overloaded) if too many are waiting."""
        return await asyncio.wrap_future(
            self._queued(self._reading, lambda: task(self._thread_reader, self._payload_filter))
        )

    async def describe(self) -> GalleryDescription:
        """The gallery as its users see it, without waiting for writes."""
        statistics = await self.statistics()
        return await self.read(lambda reader, _: self._gallery.describe_from(reader, statistics))

    async def search(
        self, vectors: Vectors, options: SearchOptions, threshold: float | None, size: AnswerSize
    ) -> SearchResult:
        """The hits of each query, float32 [n, D] of unit length. `threshold` replaces the one in the options.

        If a caller is cancelled while it waits, its search is not run. Raises Refusal: overloaded if too many are
        waiting, answer-too-large, validation for a filter, not-ready while the index is being restored.
        """
        self.index.require_ready()
        self._take_search_place()
        try:
            return await self._search.run(vectors, options, threshold, size)
        finally:
            self._searching -= 1

    def close(self) -> None:
        """Refuse new requests, finish searches and queued tasks, end the threads, and close the files."""
        self._is_closed = True
        deadline = time.monotonic() + LONGEST_SEARCH
        while self._searching and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._reading.shutdown()
        self._loop_reader.close()
        self._thread_reader.close()
        self._writer.submit(self._gallery.close).result()
        self._writer.shutdown()

    def _take_search_place(self) -> None:
        if self._is_closed:
            raise gallery_closed(self.name)
        if self.is_full:
            raise self._overloaded()
        self._searching += 1

    def _queued(self, executor: ThreadPoolExecutor, task: Callable[[], Result]) -> Future[Result]:
        if self._is_closed:
            raise gallery_closed(self.name)
        if not self._places.acquire(blocking=False):
            raise self._overloaded()
        try:
            future = executor.submit(task)
        except BaseException as error:
            self._places.release()
            # The executor refuses with RuntimeError if the gallery was closed since the check above.
            if self._is_closed and isinstance(error, RuntimeError):
                raise gallery_closed(self.name) from None
            raise
        # Also released when a waiting task is cancelled because its client has disconnected.
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _overloaded(self) -> Refusal:
        return Refusal(
            ProblemKind.OVERLOADED,
            f"Too many requests are waiting for gallery {self.name!r}. Try again in a second.",
            retry_after=1,
        )
