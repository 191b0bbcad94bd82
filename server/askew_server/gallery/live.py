"""A gallery and its threads.

The writer thread owns the database connection that writes, and runs one task after another. The index has its own
thread. All reads use separate connections, which see what was committed and never wait for a write.

A gallery that nobody uses may sleep (awake.py): it has no threads and no open files then. Each use holds it awake.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from askew_client.contract.galleries import GalleryDescription
from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchOptions
from askew_client.contract.space import is_space_id
from askew_client.errors import AskewError, EngineMissing
from askew_server.errors import Refusal
from askew_server.files import is_exhaustion
from askew_server.gallery.answer_size import AnswerSize
from askew_server.gallery.awake import AwakeGalleries
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.search import GallerySearch, ReadInThread, SearchResult
from askew_server.index.port import VectorIndex, gallery_closed
from askew_server.index.types import IndexStatistics, Vectors
from askew_server.storage.encoders import EncoderStore
from askew_server.storage.errors import DamagedDatabase, DatabaseError, storage_problem
from askew_server.storage.port import ItemFilter, ItemReader

Result = TypeVar("Result")

LONGEST_SEARCH = 10.0
"""Seconds that closing a gallery waits for searches under way."""

_POLL_SECONDS = 0.005


class OpenGallery:
    """The files and threads of a gallery that is awake."""

    def __init__(self, gallery: Gallery, writer: ThreadPoolExecutor, read: ReadInThread) -> None:
        """`read`: runs a task on `reading`."""
        self.gallery = gallery
        self.index: VectorIndex = gallery.index
        self.writer = writer
        # The event loop has one reader; the reading threads have the other one and the filter.
        self._loop_reader = gallery.store.open_loop_reader()
        try:
            self.thread_reader, self.payload_filter = gallery.store.open_filtering()
        except BaseException:
            self._close_loop_reader()
            raise
        self.reading = ThreadPoolExecutor(gallery.store.reads_at_once, f"read-{gallery.name}")
        # For questions to the index, which wait for its thread; started with the first one. Listings ask for statistics.
        self.counting = ThreadPoolExecutor(1, f"count-{gallery.name}")
        self.asking = ThreadPoolExecutor(1, f"ask-{gallery.name}")
        self.search = GallerySearch(gallery.index, self._loop_reader, read)

    @classmethod
    def open(cls, name: str, opening: Callable[[], Gallery], read: ReadInThread) -> Self:
        """Start the threads and open the gallery. Raises DamagedGallery, DatabaseError, EngineMissing."""
        writer = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name}")
        try:
            gallery = writer.submit(opening).result()
            try:
                return cls(gallery, writer, read)
            except BaseException:
                writer.submit(gallery.close).result()
                raise
        except BaseException:
            writer.shutdown()
            raise

    def close(self) -> None:
        """Finish queued tasks, end the threads, and close the files."""
        self.asking.shutdown()
        self.counting.shutdown()
        self.reading.shutdown()
        self._close_loop_reader()
        self.thread_reader.close()
        self.writer.submit(self.gallery.close).result()
        self.writer.shutdown()

    def _close_loop_reader(self) -> None:
        if self._loop_reader is not None:
            self._loop_reader.close()


@dataclass(frozen=True)
class _Asleep:
    """What is known of a gallery while it sleeps, when nothing of it changes."""

    description: GalleryDescription
    statistics: IndexStatistics


class LiveGallery:
    """A gallery in service, safe to use from the event loop and from any thread except its writer.

    `name`, `space`, `dim` and `teacher` never change. `encoders`: any thread may read its facts. `last_used`, and `held_until`,
    until when changes of items are refused (item_changes.py): in seconds of a monotonic clock.
    """

    space: str
    dim: int
    teacher: Manifest
    encoders: EncoderStore

    def __init__(
        self, name: str, opening: Callable[[], Gallery], max_waiting: int, awake: AwakeGalleries | None = None
    ) -> None:
        """See `open`."""
        self.name = name
        self.last_used = time.monotonic()
        self.held_until = 0.0
        self._opening = opening
        self._set_aside: Callable[[LiveGallery, str], None] | None = None
        self._closed_with: Refusal | None = None
        self._awake = AwakeGalleries(1) if awake is None else awake
        self._max_waiting = max_waiting
        self._places = threading.BoundedSemaphore(max_waiting)
        self._searching = 0
        self._is_closed = False
        # Held for a moment, to begin or end a use.
        self._using = threading.Lock()
        self._uses = 0
        # Held while the gallery wakes, falls asleep or is closed.
        self._changing = threading.Lock()
        self._opened: OpenGallery | None = None
        self._asleep: _Asleep | None = None
        self._waking: Future[None] | None = None
        self._earlier_changes = (0, 0)
        self._earlier_rebuilds: Counter[str] = Counter()

    @classmethod
    def open(
        cls,
        name: str,
        opening: Callable[[], Gallery],
        max_waiting: int,
        awake: AwakeGalleries | None = None,
        reopening: Callable[[], Gallery] | None = None,
        set_aside: Callable[[LiveGallery, str], None] | None = None,
    ) -> Self:
        """Start the threads and open the gallery. Raises DamagedGallery, EngineMissing, DatabaseError; Refusal (overloaded).

        `awake`: the galleries with which it shares the places of those that are awake; None: it never sleeps.
        `reopening`: opens it when it wakes; `opening` if None. `set_aside`: called with the gallery and a
        sentence about its damage if it cannot be opened then; closes it.
        """
        live = cls(name, opening, max_waiting, awake)
        live._wake()
        live._opening = reopening or opening
        live._set_aside = set_aside
        return live

    # Being awake

    @contextmanager
    def awake(self) -> Iterator[VectorIndex]:
        """Hold the gallery awake, for a thread that may block; yields its index. Raises Refusal, DamagedGallery."""
        opened = self._begin()
        while opened is None:
            self._wake()
            opened = self._begin()
        try:
            yield opened.index
        finally:
            self._end()

    def sleep(self) -> bool:
        """Close the files and end the threads unless the gallery is in use; whether it did. The next use wakes it."""
        if not self._changing.acquire(blocking=False):
            return False
        try:
            opened = self._opened
            if opened is None or self._is_closed or self._uses or opened.index.is_building:
                return False
            used = self.last_used
            try:
                # Before the end, as it takes a moment: uses may begin, and end, meanwhile.
                asleep = _described(opened)
            except (DatabaseError, AskewError):
                return False
            with self._using:
                if self._uses or self.last_used != used:
                    return False
                self._opened = None
            self._asleep = asleep
            self._remember(opened)
            try:
                opened.close()
            # What was committed is on the disk, and the index is read again or rebuilt.
            except Exception:
                logging.getLogger("askew.galleries").exception("gallery %s was not closed cleanly", self.name)
            return True
        finally:
            self._changing.release()

    def _begin(self) -> OpenGallery | None:
        """Begin a use; None if the gallery sleeps. Never blocks. Raises Refusal (unknown-gallery) once closed."""
        with self._using:
            if self._is_closed:
                raise self._closed()
            if self._opened is None:
                return None
            self._uses += 1
            self.last_used = time.monotonic()
            return self._opened

    def _end(self) -> None:
        with self._using:
            self._uses -= 1

    async def _begun(self) -> OpenGallery:
        """Begin a use on the event loop, which others use while the gallery wakes."""
        opened = self._begin()
        while opened is None:
            # Not cancelled with this caller: others may wait for the same thread.
            await asyncio.shield(asyncio.wrap_future(self._waking_future()))
            opened = self._begin()
        return opened

    def _waking_future(self) -> Future[None]:
        """The gallery's waking, for which all that need it wait together."""
        with self._using:
            if self._waking is None or self._waking.done():
                self._waking = self._awake.submit(self._wake)
            return self._waking

    def _wake(self) -> None:
        """Open the gallery if it sleeps; one that is damaged is set aside. Raises what `open` raises."""
        try:
            self._open_if_asleep()
        except Exception as error:
            # Others wait for the lock that was held until here, and the catalogue closes this gallery.
            if self._set_aside is not None and _is_damage(error):
                self._set_aside(self, _damage_of(self.name, error))
                raise self._closed() from error
            raise

    def _open_if_asleep(self) -> None:
        with self._changing:
            if self._is_closed:
                raise self._closed()
            if self._opened is not None:
                return
            self._awake.enter(self)
            try:
                opened = OpenGallery.open(self.name, self._opening, self.read)
            except BaseException:
                self._awake.leave(self)
                raise
            gallery = opened.gallery
            self.space, self.dim, self.teacher = gallery.space, gallery.dim, gallery.teacher
            self.encoders = gallery.encoders
            self.last_used = time.monotonic()
            self._opened, self._asleep = opened, None

    def _remember(self, opened: OpenGallery) -> None:
        """Keep the counters of a gallery that is closed."""
        written, deleted = self._earlier_changes
        self._earlier_changes = (written + opened.gallery.written, deleted + opened.gallery.deleted)
        self._earlier_rebuilds.update(opened.index.rebuilds)

    @property
    def written_and_deleted(self) -> tuple[int, int]:
        """How many items were inserted or replaced, and how many deleted, since the server was started."""
        written, deleted = self._earlier_changes
        opened = self._opened
        if opened is None:
            return written, deleted
        return written + opened.gallery.written, deleted + opened.gallery.deleted

    @property
    def rebuilds(self) -> Mapping[str, int]:
        """How many rebuilds of the index ended since the server was started, by outcome (ok, failed)."""
        opened = self._opened
        now: Mapping[str, int] = {} if opened is None else opened.index.rebuilds
        return {outcome: self._earlier_rebuilds[outcome] + now.get(outcome, 0) for outcome in ("ok", "failed")}

    @property
    def waiting(self) -> int:
        """How many searches wait or are under way. Read it on the event loop."""
        return self._searching

    @property
    def outage(self) -> str | None:
        """Why its items cannot be reached now, a sentence; None if they can, or while it sleeps. Never blocks."""
        opened = self._opened
        return None if opened is None else opened.gallery.store.outage

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
        """The size and state of the index; takes its turn among the searches. A sleeping gallery is not woken."""
        asleep = self._asleep
        if asleep is not None and not self._is_closed:
            return asleep.statistics
        opened = await self._begun()
        try:
            self._take_search_place()
            try:
                return await asyncio.wrap_future(opened.counting.submit(opened.index.statistics))
            finally:
                self._searching -= 1
        finally:
            self._end()

    def submit(self, task: Callable[[Gallery], Result]) -> Future[Result]:
        """Queue a task for the writer. Never call it on the event loop. Raises Refusal (overloaded) if too many are waiting."""
        with self.awake():
            opened = self._begin()
            assert opened is not None
            return self._queued(opened.writer, lambda: task(opened.gallery))

    def run(self, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on the writer and wait for it. Never call it on the event loop. Raises Refusal (overloaded)."""
        return self.submit(task).result()

    async def write(self, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on the writer. If the caller is cancelled before it begins, so is the task. Raises Refusal (overloaded)."""
        opened = await self._begun()
        return await asyncio.wrap_future(self._queued(opened.writer, lambda: task(opened.gallery)))

    async def read(self, task: Callable[[ItemReader, ItemFilter], Result]) -> Result:
        """Read the gallery without waiting for writes. Raises Refusal (overloaded) if too many are waiting."""
        opened = await self._begun()
        return await asyncio.wrap_future(
            self._queued(opened.reading, lambda: task(opened.thread_reader, opened.payload_filter))
        )

    async def ask(self, task: Callable[[VectorIndex], Result]) -> Result:
        """Ask the index for facts, which may wait for a search. Raises Refusal (overloaded) if too many are waiting."""
        opened = await self._begun()
        return await asyncio.wrap_future(self._queued(opened.asking, lambda: task(opened.index)))

    async def describe(self) -> GalleryDescription:
        """The gallery as its users see it, without waiting for writes. A sleeping gallery is not woken."""
        asleep = self._asleep
        if asleep is not None and not self._is_closed:
            return asleep.description
        opened = await self._begun()
        try:
            statistics = await self.statistics()
            return await self.read(lambda reader, _: opened.gallery.describe_from(reader, statistics))
        finally:
            self._end()

    async def search(
        self, vectors: Vectors, options: SearchOptions, threshold: float | None, size: AnswerSize
    ) -> SearchResult:
        """The hits of each query, float32 [n, D] of unit length. `threshold` replaces the one in the options.

        If a caller is cancelled while it waits, its search is not run. Raises Refusal: overloaded if too many are
        waiting, answer-too-large, validation for a filter, not-ready while the index is being restored.
        """
        opened = self._begin() or await self._begun()
        try:
            opened.index.require_ready()
            self._take_search_place()
            try:
                return await opened.search.run(vectors, options, threshold, size)
            finally:
                self._searching -= 1
        finally:
            self._end()

    def _closed(self) -> Refusal:
        known = self._closed_with
        # A new one each time: raising adds a traceback to it.
        return gallery_closed(self.name) if known is None else Refusal(known.kind, str(known), known.extras)

    def refuse(self, refusal: Refusal) -> None:
        """Refuse new requests in these words. `close` it soon."""
        with self._using:
            self._closed_with = refusal
            self._is_closed = True

    def close(self) -> None:
        """Refuse new requests, finish searches and queued tasks, end the threads, and close the files."""
        with self._using:
            self._is_closed = True
        deadline = time.monotonic() + LONGEST_SEARCH
        while self._searching and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        with self._changing:
            opened, self._opened = self._opened, None
            if opened is not None:
                self._remember(opened)
                opened.close()
        self._awake.leave(self)

    def _take_search_place(self) -> None:
        if self._is_closed:
            raise self._closed()
        if self.is_full:
            raise self._overloaded()
        self._searching += 1

    def _queued(self, executor: ThreadPoolExecutor, task: Callable[[], Result]) -> Future[Result]:
        """Queue a task. It ends the use that was begun for it, when it is done or refused."""
        if not self._places.acquire(blocking=False):
            self._end()
            raise self._overloaded()
        try:
            future = executor.submit(task)
        except BaseException as error:
            self._places.release()
            self._end()
            # The executor refuses with RuntimeError if the gallery was closed since the use began.
            if self._is_closed and isinstance(error, RuntimeError):
                raise self._closed() from None
            raise
        # Also called when a waiting task is cancelled because its client has disconnected.
        future.add_done_callback(self._end_task)
        return future

    def _end_task(self, _: Future[Result]) -> None:
        self._places.release()
        self._end()

    def _overloaded(self) -> Refusal:
        return Refusal(
            ProblemKind.OVERLOADED,
            f"Too many requests are waiting for gallery {self.name!r}. Try again in a second.",
            retry_after=1,
        )


def _is_damage(error: Exception) -> bool:
    """Whether a gallery could not be opened because of its own files, so that trying again would not help."""
    if isinstance(error, Refusal | EngineMissing) or storage_problem(error) is not None:
        return isinstance(error, DamagedDatabase)
    return not is_exhaustion(error)


def _damage_of(name: str, error: Exception) -> str:
    if isinstance(error, AskewError):
        return str(error)
    return f"Gallery {name!r} cannot be opened: {type(error).__name__}: {error}."


def _described(opened: OpenGallery) -> _Asleep:
    """What is told of a gallery while it sleeps."""
    statistics = opened.index.statistics()
    description = opened.reading.submit(lambda: opened.gallery.describe_from(opened.thread_reader, statistics)).result()
    return _Asleep(description, replace(statistics, bytes_memory=0, bytes_mapped=0))
