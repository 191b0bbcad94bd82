"""The thread that searches a gallery's index. No other thread uses the index.

Searches and changes take turns on it, so that an index is never searched while it changes. Nothing slow runs on it: no
SQLite, no disk access, no JSON.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_server.index.port import gallery_closed
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import Answered, Labels, Neighbours, Vectors

Result = TypeVar("Result")

_MAX_SCORED = 4_096
"""For more labels than this, the caller computes the scores, so that other searches get their turn."""


@dataclass(frozen=True, slots=True)
class _Query:
    """A waiting search. `answer` belongs to the event loop of its caller."""

    vectors: Vectors
    wanted: int
    allowed: Labels | None
    exact: bool
    answer: asyncio.Future[Neighbours]

    def fits(self, other: _Query) -> bool:
        """Whether one search, and one call of the event loop, can answer both."""
        return (
            self.allowed is other.allowed
            and self.exact == other.exact
            and self.answer.get_loop() is other.answer.get_loop()
        )


class _End:
    """Marks the end of the queue."""


_Task = _Query | Callable[[], None] | _End


class SearchThread:
    """An index and its thread. Safe to use from any other thread."""

    def __init__(self, index: SegmentedIndex, gallery: str) -> None:
        """`gallery`: its name, for the error of calls on a closed index."""
        self._index = index
        self._gallery = gallery
        self._waiting: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._next_task: _Task | None = None
        # Held while queueing, so that no task is queued behind the end mark.
        self._queueing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"search-{gallery}", daemon=True)
        self._thread.start()

    async def search(self, vectors: Vectors, wanted: int, allowed: Labels | None, exact: bool) -> Neighbours:
        """See VectorIndex."""
        answer: asyncio.Future[Neighbours] = asyncio.get_running_loop().create_future()
        self._put(_Query(vectors, wanted, allowed, exact, answer))
        return await answer

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        """See VectorIndex."""
        return self.change(lambda index: _search(index, vectors, wanted, None, exact=False))

    def replace(self, index: SegmentedIndex) -> None:
        """Search another index from now on. Raises Refusal (unknown-gallery) once closed."""

        def task(_: SegmentedIndex) -> None:
            self._index = index

        self.change(task)

    def change(self, task: Callable[[SegmentedIndex], Result]) -> Result:
        """Queue a task for the thread and wait for its result. Raises Refusal (unknown-gallery) once closed."""
        return self.submit(task).result()

    def submit(self, task: Callable[[SegmentedIndex], Result]) -> Future[Result]:
        """Queue a task for the thread. Raises Refusal (unknown-gallery) once closed."""
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(task(self._index))
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        self._put(run)
        return done

    def require_open(self) -> None:
        """Raise Refusal (unknown-gallery) once closed. Never blocks."""
        if self._is_closed:
            raise gallery_closed(self._gallery)

    def close(self) -> None:
        """Finish waiting searches and tasks, and end the thread. Later calls are refused; closing again does nothing."""
        with self._queueing:
            if not self._is_closed:
                self._is_closed = True
                self._waiting.put(_End())
        self._thread.join()

    def _put(self, task: _Task) -> None:
        with self._queueing:
            self.require_open()
            self._waiting.put(task)

    def _run(self) -> None:
        # An exception must never end this thread: the callers in the queue would wait for ever.
        while not isinstance(task := self._take(), _End):
            if isinstance(task, _Query):
                self._answer(task)
            else:
                task()

    def _take(self) -> _Task:
        if self._next_task is not None:
            task, self._next_task = self._next_task, None
            return task
        return self._waiting.get()

    def _answer(self, first: _Query) -> None:
        """Answer a query, together with the next ones in the queue that fit it."""
        batch = [first]
        answers: list[Neighbours | BaseException]
        try:
            self._extend(batch)
            # A query whose caller was cancelled while it waited is not searched.
            batch = [query for query in batch if not query.answer.done()]
            if not batch:
                return
            answers = [*self._search_together(batch)]
        except BaseException as error:  # noqa: BLE001
            answers = [error] * len(batch)
        try:
            first.answer.get_loop().call_soon_threadsafe(_deliver, batch, answers)
        except RuntimeError:
            # The event loop has ended, so nobody waits for the answers.
            return

    def _extend(self, batch: list[_Query]) -> None:
        """Take further queries that fit the first one. A task that does not fit is kept as the next one."""
        first = batch[0]
        limit = self._index.queries_for(exact=first.exact)
        count = len(first.vectors)
        while count < limit:
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                return
            if not isinstance(task, _Query) or not task.fits(first):
                self._next_task = task
                return
            batch.append(task)
            count += len(task.vectors)

    def _search_together(self, batch: list[_Query]) -> list[Neighbours]:
        first = batch[0]
        vectors = first.vectors if len(batch) == 1 else np.concatenate([query.vectors for query in batch])
        wanted = max(query.wanted for query in batch)
        found = _search(self._index, vectors, wanted, first.allowed, exact=first.exact)
        if len(batch) == 1:
            return [found]
        answers, start = [], 0
        for query in batch:
            columns = self._index.to_fetch(query.wanted, exact=query.exact)
            rows = slice(start, start + len(query.vectors))
            scores = None if found.scores is None else found.scores[rows, :columns]
            answers.append(replace(found, labels=found.labels[rows, :columns], scores=scores))
            start += len(query.vectors)
        return answers


def _search(index: SegmentedIndex, vectors: Vectors, wanted: int, allowed: Labels | None, *, exact: bool) -> Neighbours:
    began = time.perf_counter()
    available = len(index) if allowed is None else len(allowed)
    fetched = min(index.to_fetch(wanted, exact=exact), available)
    # FAISS refuses a search for no rows.
    nothing = np.empty((len(vectors), 0), dtype=np.int64)
    labels = index.search(vectors, fetched, allowed, exact) if fetched else nothing
    scores = _scores(index, vectors, labels)
    answered = index.answered if fetched else Answered(index.kind, index.exact)
    is_exact = answered.exact or exact
    return Neighbours(labels, scores, answered.kind, is_exact, available, began, time.perf_counter(), len(vectors))


def _scores(index: SegmentedIndex, vectors: Vectors, labels: Labels) -> NDArray[np.float64] | None:
    """The inner products of the queries with the vectors found; None unless the index holds all of them uncoded."""
    if labels.size > _MAX_SCORED or not labels.size or labels[:, -1].min() < 0:
        return None
    stored = index.stored(labels.ravel())
    if stored is None:
        return None
    found = stored.reshape(*labels.shape, -1)
    scores = np.empty(labels.shape, dtype=np.float64)
    # Query by query: the vectors of all in float64 would be megabytes, which no processor cache holds.
    for position, query in enumerate(vectors.astype(np.float64)):
        np.matmul(found[position].astype(np.float64), query, out=scores[position])
    return scores


def _deliver(batch: list[_Query], answers: list[Neighbours | BaseException]) -> None:
    for query, answer in zip(batch, answers, strict=True):
        if query.answer.done():
            continue
        if isinstance(answer, BaseException):
            query.answer.set_exception(answer)
        else:
            query.answer.set_result(answer)
