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
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_server.index.types import Labels, Vectors

if TYPE_CHECKING:
    from askew_server.index.segmented import SegmentedIndex

Result = TypeVar("Result")

_TOGETHER_EXACT = 32
"""Half of what 64 clients send: while one half is searched, the answers of the other are written."""

_TOGETHER = 8
_SCORED_HERE = 4_096


@dataclass(frozen=True, slots=True)
class Nearest:
    """What an index found: labels int64 [n, m], nearest first, filled up with -1.

    `scores`: float64 [n, m], the inner products with the stored vectors, where the index holds these as they are.
    `began` and `ended` are seconds of `time.perf_counter`; `together`: how many queries were answered at once.
    `available`: how many vectors there were to choose from.
    """

    labels: Labels
    scores: NDArray[np.float64] | None
    index: str
    exact: bool
    available: int
    began: float
    ended: float
    together: int


@dataclass(frozen=True, slots=True)
class _Ask:
    vectors: Vectors
    wanted: int
    allowed: Labels | None
    exact: bool
    answer: asyncio.Future[Nearest]

    def is_like(self, other: _Ask) -> bool:
        return self.allowed is other.allowed and self.exact == other.exact


class Searcher:
    """An index and its thread."""

    def __init__(self, index: SegmentedIndex, name: str) -> None:
        self._index = index
        self._waiting: queue.SimpleQueue[_Ask | Callable[[], None] | None] = queue.SimpleQueue()
        self._held: _Ask | Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"search-{name}", daemon=True)
        self._thread.start()

    async def search(self, vectors: Vectors, wanted: int, allowed: Labels | None, exact: bool) -> Nearest:
        """At least the `wanted` nearest of each query, float32 [n, D]; `allowed`: among these labels only, rising.

        A caller that is cancelled while it waits costs no search.
        """
        answer: asyncio.Future[Nearest] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Ask(vectors, wanted, allowed, exact, answer))
        return await answer

    def replace(self, index: SegmentedIndex) -> None:
        """Search another index from now on."""

        def task(_: SegmentedIndex) -> None:
            self._index = index

        self.change(task)

    def change(self, task: Callable[[SegmentedIndex], Result]) -> Result:
        """Run a task on the thread, in its turn, and wait for it."""
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(task(self._index))
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)

        self._waiting.put(run)
        return done.result()

    def close(self) -> None:
        """Let what waits finish, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (task := self._next()) is not None:
            if isinstance(task, _Ask):
                self._answer(self._taken_with(task))
            else:
                task()

    def _next(self) -> _Ask | Callable[[], None] | None:
        if self._held is not None:
            task, self._held = self._held, None
            return task
        return self._waiting.get()

    def _taken_with(self, first: _Ask) -> list[_Ask]:
        """An ask and those like it that wait behind it, as far as answering them together pays."""
        most = _TOGETHER_EXACT if self._index.exact or first.exact else _TOGETHER
        taken, queries = [first], len(first.vectors)
        while queries < most:
            try:
                task = self._waiting.get_nowait()
            except queue.Empty:
                break
            if not isinstance(task, _Ask) or not task.is_like(first):
                self._held = task
                break
            taken.append(task)
            queries += len(task.vectors)
        # Whoever has gone meanwhile costs no search.
        return [ask for ask in taken if not ask.answer.done()]

    def _answer(self, asks: list[_Ask]) -> None:
        if not asks:
            return
        try:
            answers: list[Nearest | BaseException] = list(self._nearest(asks))
        except BaseException as error:  # noqa: BLE001
            answers = [error] * len(asks)
        loop = asks[0].answer.get_loop()
        try:
            loop.call_soon_threadsafe(_deliver, asks, answers)
        except RuntimeError:
            # The loop has ended, and nobody waits any more.
            return

    def _nearest(self, asks: list[_Ask]) -> list[Nearest]:
        first = asks[0]
        queries = first.vectors if len(asks) == 1 else np.concatenate([ask.vectors for ask in asks])
        found = _nearest(self._index, queries, max(ask.wanted for ask in asks), first.allowed, exact=first.exact)
        if len(asks) == 1:
            return [found]
        answers, start = [], 0
        for ask in asks:
            columns = self._index.to_fetch(ask.wanted, exact=ask.exact)
            rows = slice(start, start + len(ask.vectors))
            scores = None if found.scores is None else found.scores[rows, :columns]
            answers.append(replace(found, labels=found.labels[rows, :columns], scores=scores))
            start += len(ask.vectors)
        return answers


def _nearest(index: SegmentedIndex, queries: Vectors, wanted: int, allowed: Labels | None, *, exact: bool) -> Nearest:
    began = time.perf_counter()
    available = len(index) if allowed is None else len(allowed)
    fetched = min(index.to_fetch(wanted, exact=exact), available)
    # An empty search is no search for FAISS.
    nothing = np.empty((len(queries), 0), dtype=np.int64)
    labels = index.search(queries, fetched, allowed, exact) if fetched else nothing
    scores = _scores(index, queries, labels)
    is_exact = index.exact or exact
    return Nearest(labels, scores, index.name, is_exact, available, began, time.perf_counter(), len(queries))


def _scores(index: SegmentedIndex, queries: Vectors, labels: Labels) -> NDArray[np.float64] | None:
    """The inner products of the queries with what was found, where every vector that was is at hand."""
    if labels.size > _SCORED_HERE or not labels.size or labels[:, -1].min() < 0:
        return None
    stored = index.stored(labels.ravel())
    if stored is None:
        return None
    found = stored.astype(np.float64).reshape(*labels.shape, -1)
    scores: NDArray[np.float64] = (found @ queries.astype(np.float64)[:, :, None])[:, :, 0]
    return scores


def _deliver(asks: list[_Ask], answers: list[Nearest | BaseException]) -> None:
    for ask, answer in zip(asks, answers, strict=True):
        if ask.answer.done():
            continue
        if isinstance(answer, BaseException):
            ask.answer.set_exception(answer)
        else:
            ask.answer.set_result(answer)
