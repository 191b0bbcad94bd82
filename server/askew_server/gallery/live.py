"""A gallery and its threads.

The writer owns the database connection that writes: tasks run there one after the other. The searcher (searcher.py)
owns the index. Everything else is read over connections of its own, which see what was committed and never wait: hits
are finished in the event loop where that takes a fraction of a millisecond, on the reading thread otherwise.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Self, TypeVar

from askew_client.contract.filters import AllOf, Exists, Filter, Not, OneOf, Scalar
from askew_client.contract.galleries import GalleryDescription
from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchOptions
from askew_server.errors import Refusal
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.index_manager import IndexKeeper
from askew_server.gallery.ranking import Choice, FoundItem, Groups, items_of
from askew_server.index.search_thread import Nearest
from askew_server.index.types import IndexStatistics, Labels, Vectors
from askew_server.storage.encoders import EncoderStore
from askew_server.storage.payload_columns import Columns
from askew_server.storage.reader import GalleryReader

Result = TypeVar("Result")

QUERIES_AT_ONCE = 16
"""Queries of a batch that are searched in one go; other requests take their turn between two of these."""

LONGEST_SEARCH = 10.0
"""Seconds that closing a gallery waits for searches under way."""

_SECONDS_BETWEEN_LOOKS = 0.005
_FINISHED_IN_LOOP = 48
_AGAIN = 4


@dataclass(slots=True)
class SearchResult:
    """The hits of each query, the index that found them, and what the time went to.

    `stages`: seconds of `time.perf_counter`, from and to. `together`: queries that the index answered at once.
    """

    hits: list[list[FoundItem]] = field(default_factory=list)
    index: str = ""
    exact: bool = True
    stages: list[tuple[Literal["queue", "search", "finish"], float, float]] = field(default_factory=list)
    together: int = 0

    def note(self, asked: float, nearest: Nearest) -> None:
        """A search that came back just now."""
        self.index, self.exact, self.together = nearest.index, nearest.exact, nearest.together
        self.stages += [("queue", asked, nearest.began), ("search", nearest.began, nearest.ended)]


class OwnedGallery:
    """A gallery, and the threads that own its parts."""

    def __init__(self, gallery: Gallery, writer: ThreadPoolExecutor, max_waiting: int) -> None:
        self._gallery = gallery
        self._writer = writer
        self._max_waiting = max_waiting
        self._places = threading.BoundedSemaphore(max_waiting)
        self._searching = 0
        self._is_closed = False
        self._searcher = gallery.index.searcher
        # One reader belongs to the event loop, the other one, with the columns, to the reading thread.
        self._near = GalleryReader.open(gallery.store.folder)
        self._far = GalleryReader.open(gallery.store.folder)
        self._columns = Columns(self._far)
        self._reading = ThreadPoolExecutor(1, f"read-{gallery.name}")

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
    def name(self) -> str:
        """The gallery's name."""
        return self._gallery.name

    @property
    def space(self) -> str:
        """The gallery's space."""
        return self._gallery.space

    @property
    def dim(self) -> int:
        """Components of its vectors."""
        return self._gallery.dim

    @property
    def teacher(self) -> Manifest:
        """The manifest of the encoder that describes it."""
        return self._gallery.teacher

    @property
    def encoders(self) -> EncoderStore:
        """Its encoders; of them, any thread may read the facts."""
        return self._gallery.encoders

    @property
    def index(self) -> IndexKeeper:
        """Its index; safe to ask from any thread but those of the index itself."""
        return self._gallery.index

    @property
    def written_and_deleted(self) -> tuple[int, int]:
        """How many items were inserted or replaced, and how many deleted, since the gallery was opened."""
        return self._gallery.written, self._gallery.deleted

    @property
    def waiting(self) -> int:
        """How many searches wait or are under way; for the event loop."""
        return self._searching

    async def statistics(self) -> IndexStatistics:
        """What there is to tell of the index; waits its turn among the searches."""
        self._take_search_place()
        try:
            return await asyncio.to_thread(self._gallery.index.statistics)
        finally:
            self._searching -= 1

    def submit(self, task: Callable[[Gallery], Result]) -> Future[Result]:
        """Queue a task for the writer. Raises Refusal (overloaded) when too many wait already."""
        return self._queued(self._writer, lambda: task(self._gallery))

    def run(self, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on the writer and wait for it; for callers that are no server."""
        return self.submit(task).result()

    async def read(self, task: Callable[[GalleryReader, Columns], Result]) -> Result:
        """Read the gallery without waiting for writes. Raises Refusal (overloaded) when too many wait already."""
        return await asyncio.wrap_future(self._queued(self._reading, lambda: task(self._far, self._columns)))

    async def describe(self) -> GalleryDescription:
        """The gallery as its users see it, without waiting for writes."""
        statistics = await self.statistics()
        return await self.read(lambda reader, _: self._gallery.described(reader, statistics))

    @property
    def is_full(self) -> bool:
        """Whether as many searches wait as may."""
        return self._searching >= self._max_waiting

    async def search(self, vectors: Vectors, options: SearchOptions, threshold: float | None) -> SearchResult:
        """The hits of each query, float32 [n, D] of unit length; `threshold` instead of the one in the options.

        A caller that is cancelled while it waits costs no search. Raises Refusal: overloaded when too many wait
        already, validation for a filter.
        """
        self._gallery.index.require_whole()
        choice = Choice(options.limit, threshold, frozenset(options.exclude))
        result = SearchResult()
        self._take_search_place()
        try:
            if options.group_by is not None:
                for vector in vectors:
                    groups = Groups(tuple(options.group_by.split(".")), choice, options.group_size)
                    result.hits.append(await self._grouped(vector[None], groups, options, result))
                return result
            allowed = None if options.filter is None else await self._allowed(options.filter)
            for start in range(0, len(vectors), QUERIES_AT_ONCE):
                part = vectors[start : start + QUERIES_AT_ONCE]
                result.hits += await self._hits(part, choice, allowed, options, result)
        finally:
            self._searching -= 1
        return result

    async def check_filter(self, condition: Filter) -> None:
        """Refuse (validation) a filter that a search would refuse."""
        await self._allowed(condition)

    def close(self) -> None:
        """Let searches and queued tasks finish, end the threads, close the files; who comes now is refused."""
        self._is_closed = True
        deadline = time.monotonic() + LONGEST_SEARCH
        while self._searching and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._reading.shutdown()
        self._near.close()
        self._far.close()
        self._writer.submit(self._gallery.close).result()
        self._writer.shutdown()

    async def _hits(
        self, vectors: Vectors, choice: Choice, allowed: Labels | None, options: SearchOptions, result: SearchResult
    ) -> list[list[FoundItem]]:
        answers: list[list[FoundItem]] = [[] for _ in vectors]
        pending, wanted = list(range(len(vectors))), choice.wanted
        while pending:
            queries = vectors if len(pending) == len(vectors) else vectors[pending]
            items, saw_all = await self._items(queries, wanted, allowed, options, result)
            incomplete = []
            for position, found, is_all in zip(pending, items, saw_all, strict=True):
                hits = answers[position] = choice.hits(found)
                if not is_all and not choice.is_complete(found, hits):
                    incomplete.append(position)
            pending, wanted = incomplete, _AGAIN * wanted
        return answers

    async def _grouped(
        self, vector: Vectors, groups: Groups, options: SearchOptions, result: SearchResult
    ) -> list[FoundItem]:
        """The groups nearest to one query, float32 [1, D]: each search looks only among values not seen before."""
        field_path = options.group_by or ""
        held: list[Filter] = [Exists(field=field_path, exists=True)]
        if options.filter is not None:
            held.append(options.filter)
        wanted = _AGAIN * groups.choice.wanted
        while not groups.is_full:
            others = [Not.model_construct(negated=_one_of(field_path, groups.values))] if groups.values else []
            allowed = await self._allowed(AllOf.model_construct(all_of=[*held, *others]), depth=0)
            (items,), (saw_all,) = await self._items(vector, wanted, allowed, options, result)
            before = len(groups.values)
            groups.take(items)
            if saw_all or (items and groups.choice.threshold is not None and items[-1].score < groups.choice.threshold):
                break
            if len(groups.values) == before:
                wanted *= _AGAIN
        if groups.size > 1 and groups.open_values:
            members = AllOf.model_construct(all_of=[*held, _one_of(field_path, groups.open_values)])
            allowed = await self._allowed(members, depth=0)
            wanted, saw_all = len(groups.open_values) * groups.size, False
            while groups.open_values and not saw_all:
                (items,), (saw_all,) = await self._items(vector, wanted, allowed, options, result)
                groups.take(items)
                wanted *= _AGAIN
        return groups.hits()

    async def _items(
        self, vectors: Vectors, wanted: int, allowed: Labels | None, options: SearchOptions, result: SearchResult
    ) -> tuple[list[list[FoundItem]], list[bool]]:
        """What the index found for each query, ranked, and whether that is everything there is."""
        asked = time.perf_counter()
        nearest = await self._searcher.search(vectors, wanted, allowed, options.exact)
        result.note(asked, nearest)
        if len(vectors) * wanted <= _FINISHED_IN_LOOP:
            finished = items_of(self._near, vectors, nearest, with_vectors=options.with_vectors)
        else:
            finished = await self.read(
                lambda reader, _: items_of(reader, vectors, nearest, with_vectors=options.with_vectors)
            )
        result.stages.append(("finish", nearest.ended, time.perf_counter()))
        return finished

    async def _allowed(self, condition: Filter, depth: int = 1) -> Labels:
        return await self.read(lambda _, columns: columns.allowed(condition, depth))

    def _take_search_place(self) -> None:
        if self._is_closed:
            raise self._gone()
        if self.is_full:
            raise self._overloaded()
        self._searching += 1

    def _queued(self, executor: ThreadPoolExecutor, task: Callable[[], Result]) -> Future[Result]:
        if self._is_closed:
            raise self._gone()
        if not self._places.acquire(blocking=False):
            raise self._overloaded()
        try:
            future = executor.submit(task)
        except BaseException as error:
            self._places.release()
            # The executor's own refusal, when the gallery was closed at this very moment.
            if self._is_closed and isinstance(error, RuntimeError):
                raise self._gone() from None
            raise
        # Released also when a waiting task is cancelled because its client has gone.
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _gone(self) -> Refusal:
        return Refusal(
            ProblemKind.UNKNOWN_GALLERY, f"Gallery {self.name!r} was closed meanwhile: there is none any more."
        )

    def _overloaded(self) -> Refusal:
        return Refusal(
            ProblemKind.OVERLOADED,
            f"Too many requests wait for gallery {self.name!r}. Try again in a second.",
            retry_after=1,
        )


def _one_of(field_path: str, values: list[Scalar]) -> Filter:
    return OneOf.model_construct(field=field_path, one_of=values)
