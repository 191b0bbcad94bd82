"""The thread that searches a gallery's index, and the only one that touches it.

Searches and changes take their turns here, so that an index is never searched while it changes. Nothing slow happens
on it: no SQLite, no disk, no JSON.
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

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import Labels, Neighbours, Vectors

Result = TypeVar("Result")

_TOGETHER_EXACT = 32
"""Half of what 64 clients send: while one half is searched, the answers of the other are written."""

_TOGETHER = 8
_SCORED_HERE = 4_096


@dataclass(frozen=True, slots=True)
class _Query:
    """A search that waits for its turn."""

    vectors: Vectors
    wanted: int
    allowed: Labels | None
    exact: bool
    answer: asyncio.Future[Neighbours]

    def fits(self, other: _Query) -> bool:
        """Whether both can be answered by one search."""
        return self.allowed is other.allowed and self.exact == other.exact


class SearchThread:
    """An index and its thread. Safe to use from any other thread."""

    def __init__(self, index: SegmentedIndex, name: str) -> None:
        """`name`: of the gallery."""
        self._index = index
        self._name = name
        self._waiting: queue.SimpleQueue[_Query | Callable[[], None] | None] = queue.SimpleQueue()
        self._next_task: _Query | Callable[[], None] | None = None
        # What is queued under this lock before the end is queued will be worked on.
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"search-{name}", daemon=True)
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
        """Run a task on the thread, in its turn, and wait for it. Raises Refusal (unknown-gallery) once closed."""
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(task(self._index))
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        self._put(run)
        return done.result()

    def close(self) -> None:
        """Let what waits finish, and end the thread; later calls are refused."""
        with self._closing:
            self._is_closed = True
            self._waiting.put(None)
        self._thread.join()

    def _put(self, task: _Query | Callable[[], None]) -> None:
        with self._closing:
            if self._is_closed:
                raise Refusal(ProblemKind.UNKNOWN_GALLERY, f"Gallery {self._name!r} was closed and is gone.")
            self._waiting.put(task)

    def _run(self) -> None:
        while (task := self._take()) is not None:
            if isinstance(task, _Query):
                self._answer(self._batch_with(task))
            else:
                task()

    def _take(self) -> _Query | Callable[[], None] | None:
        if self._next_task is not None:
            task, self._next_task = self._next_task, None
            return task
        return self._waiting.get()

    def _batch_with(self, first: _Query) -> list[_Query]:
        """A query and those that fit it and wait behind it, as far as answering them together pays."""
        limit = _TOGETHER_EXACT if self._index.exact or first.exact else _TOGETHER
        batch, count = [first], len(first.vectors)
        while count < limit:
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                break
            if not isinstance(task, _Query) or not task.fits(first):
                self._next_task = task
                # The end itself was taken: it comes next, once this batch is answered.
                if task is None:
                    self._waiting.put(None)
                break
            batch.append(task)
            count += len(task.vectors)
        # A caller that has gone in the meantime costs no search.
        return [query for query in batch if not query.answer.done()]

    def _answer(self, batch: list[_Query]) -> None:
        if not batch:
            return
        try:
            answers: list[Neighbours | BaseException] = list(self._search_together(batch))
        except BaseException as error:  # noqa: BLE001
            answers = [error] * len(batch)
        loop = batch[0].answer.get_loop()
        try:
            loop.call_soon_threadsafe(_deliver, batch, answers)
        except RuntimeError:
            # The loop has ended, and nobody waits any more.
            return

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
    # FAISS does not take a search for nothing.
    nothing = np.empty((len(vectors), 0), dtype=np.int64)
    labels = index.search(vectors, fetched, allowed, exact) if fetched else nothing
    scores = _scores(index, vectors, labels)
    is_exact = index.exact or exact
    return Neighbours(labels, scores, index.name, is_exact, available, began, time.perf_counter(), len(vectors))


def _scores(index: SegmentedIndex, vectors: Vectors, labels: Labels) -> NDArray[np.float64] | None:
    """The inner products of the queries with what was found, where the index holds every vector found."""
    if labels.size > _SCORED_HERE or not labels.size or labels[:, -1].min() < 0:
        return None
    stored = index.stored(labels.ravel())
    if stored is None:
        return None
    found = stored.astype(np.float64).reshape(*labels.shape, -1)
    scores: NDArray[np.float64] = (found @ vectors.astype(np.float64)[:, :, None])[:, :, 0]
    return scores


def _deliver(batch: list[_Query], answers: list[Neighbours | BaseException]) -> None:
    for query, answer in zip(batch, answers, strict=True):
        if query.answer.done():
            continue
        if isinstance(answer, BaseException):
            query.answer.set_exception(answer)
        else:
            query.answer.set_result(answer)
