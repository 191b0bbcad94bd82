"""The search thread answers in turn, together where it can, refuses what comes after its end, and never hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_server.errors import Refusal
from askew_server.index.search_thread import SearchThread
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import Labels, Neighbours, Vectors
from tests.support.held_index import CountingIndex
from tests.support.soak import examples
from tests.support.waiting import DEADLINE, in_thread, wait_until

DIM = 4
VECTORS = np.eye(DIM, dtype=np.float32)


def small_index() -> CountingIndex:
    index = CountingIndex(DIM)
    index.add(np.arange(1, DIM + 1), VECTORS)
    return index


@pytest.fixture
def index() -> CountingIndex:
    return small_index()


@pytest.fixture
def thread(index: CountingIndex) -> Iterator[SearchThread]:
    thread = SearchThread(index, "objects")
    yield thread
    in_thread(thread.close).result(DEADLINE)


@contextmanager
def held(thread: SearchThread) -> Iterator[None]:
    """Searches and changes stay in the queue until the block ends."""
    begun, released = threading.Event(), threading.Event()

    def hold(_: SegmentedIndex) -> None:
        begun.set()
        assert released.wait(DEADLINE)

    holding = thread.submit(hold)
    assert begun.wait(DEADLINE)
    try:
        yield
    finally:
        released.set()
        holding.result(DEADLINE)


def is_refused(thread: SearchThread) -> bool:
    try:
        thread.require_open()
    except Refusal:
        return True
    return False


def queue_end(thread: SearchThread) -> asyncio.Future[None]:
    """Close the search thread in another thread; returns once the end is queued."""
    closing = asyncio.wrap_future(in_thread(thread.close))
    wait_until(lambda: is_refused(thread), "the end to be queued")
    return closing


def queue_search(
    thread: SearchThread, allowed: Labels | None = None, *, exact: bool = False
) -> asyncio.Task[Neighbours]:
    """A search for the first vector; await `queued` before it can be in the queue."""
    return asyncio.create_task(thread.search(VECTORS[:1], 1, allowed, exact))


async def queued() -> None:
    """Let the searches that were begun reach the queue."""
    await asyncio.sleep(0)


async def outcomes(futures: list[asyncio.Future[Any]]) -> list[object]:
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), DEADLINE)


def test_a_search_or_a_change_after_the_end_is_refused_at_once(thread: SearchThread) -> None:
    thread.close()
    thread.close()
    calls: list[Callable[[], object]] = [
        lambda: thread.change(len),
        lambda: thread.replace(SegmentedIndex(DIM)),
        lambda: thread.search_blocking(VECTORS, 1),
        lambda: asyncio.run(thread.search(VECTORS, 1, None, False)),
        thread.require_open,
    ]
    for call in calls:
        error = in_thread(call).exception(DEADLINE)
        assert isinstance(error, Refusal)
        assert error.kind.slug == "unknown-gallery"
        assert "'objects' is closed" in str(error)


def test_the_thread_ends_when_the_end_mark_follows_a_batch(thread: SearchThread) -> None:
    """Queries that one search answers, then the end mark, which must not be lost when they are batched."""

    async def run() -> list[object]:
        with held(thread):
            searches: list[asyncio.Future[Any]] = [queue_search(thread) for _ in range(3)]
            await queued()
            closing = queue_end(thread)
            assert not any(search.done() for search in searches)
        return await outcomes([*searches, closing])

    *answers, closed = asyncio.run(run())
    assert closed is None
    for answer in answers:
        assert isinstance(answer, Neighbours)
        assert (answer.labels[0, 0], answer.together) == (1, 3)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.lists(st.sampled_from(["search", "filtered", "exact", "change", "failing", "end"]), max_size=30))
def test_what_waits_before_the_end_is_done_and_the_rest_is_refused(tasks: list[str]) -> None:
    """The queue is filled while the thread is held, so every order of tasks and ends is really met."""
    thread = SearchThread(small_index(), "objects")
    even = np.array([2], dtype=np.int64)
    before = len(tasks) if "end" not in tasks else tasks.index("end")

    async def ask(name: str) -> asyncio.Future[Any]:
        match name:
            case "end":
                return queue_end(thread)
            case "change" | "failing":
                return asyncio.wrap_future(thread.submit(len if name == "change" else lambda index: 1 / 0))
            case _:
                search = queue_search(thread, even if name == "filtered" else None, exact=name == "exact")
                await queued()
                return search

    async def run() -> list[object]:
        asked: list[asyncio.Future[Any]] = []
        with held(thread):
            for name in tasks:
                try:
                    asked.append(await ask(name))
                except Refusal as refusal:
                    asked.append(asyncio.get_running_loop().create_future())
                    asked[-1].set_exception(refusal)
        return await outcomes(asked)

    try:
        results = asyncio.run(run())
    finally:
        in_thread(thread.close).result(DEADLINE)
    for position, (name, result) in enumerate(zip(tasks, results, strict=True)):
        if name == "end":
            assert result is None
        elif position > before:
            assert isinstance(result, Refusal)
        elif name == "failing":
            assert isinstance(result, ZeroDivisionError)
        elif name == "change":
            assert result == DIM
        else:
            assert isinstance(result, Neighbours)
            assert result.labels[0, 0] == (2 if name == "filtered" else 1)
            assert result.exact


def test_searches_that_wait_are_answered_together_unless_they_differ(thread: SearchThread) -> None:
    allowed = np.array([1, 2], dtype=np.int64)

    async def run() -> list[object]:
        with held(thread):
            asked: list[asyncio.Future[Any]] = [
                *(queue_search(thread) for _ in range(4)),
                *(queue_search(thread, allowed) for _ in range(2)),
                queue_search(thread, allowed, exact=True),
            ]
            await queued()
            asked.append(asyncio.wrap_future(thread.submit(len)))
            asked.append(queue_search(thread, allowed, exact=True))
            await queued()
        return await outcomes(asked)

    *answers, changed, last = asyncio.run(run())
    assert changed == DIM
    together = [answer.together for answer in (*answers, last) if isinstance(answer, Neighbours)]
    assert together == [4, 4, 4, 4, 2, 2, 1, 1]


def test_a_batch_is_bounded(thread: SearchThread, index: CountingIndex) -> None:
    async def run() -> list[object]:
        with held(thread):
            asked: list[asyncio.Future[Any]] = [queue_search(thread) for _ in range(100)]
            await queued()
        return await outcomes(asked)

    together = [answer.together for answer in asyncio.run(run()) if isinstance(answer, Neighbours)]
    assert len(together) == 100
    assert max(together) == 32


def test_a_caller_that_was_cancelled_costs_no_search(thread: SearchThread, index: CountingIndex) -> None:
    async def run() -> list[object]:
        with held(thread):
            asked: list[asyncio.Future[Any]] = [queue_search(thread) for _ in range(10)]
            await queued()
            for each in asked[1:]:
                each.cancel()
            await queued()
        return await outcomes(asked)

    first, *others = asyncio.run(run())
    assert isinstance(first, Neighbours)
    assert all(isinstance(other, asyncio.CancelledError) for other in others)
    assert index.searched == 1


def test_an_event_loop_that_has_ended_blocks_no_other_search(thread: SearchThread) -> None:
    async def leave() -> None:
        # The loop cancels what is left when it ends.
        left.append(queue_search(thread))
        await queued()

    left: list[asyncio.Task[Neighbours]] = []
    with held(thread):
        asyncio.run(leave())
    assert left[0].cancelled()
    assert thread.search_blocking(VECTORS[:1], 1).labels[0, 0] == 1


def test_event_loops_in_several_threads_get_their_own_answers(thread: SearchThread) -> None:
    begun = threading.Barrier(4)

    async def ask() -> list[int]:
        searches = [queue_search(thread) for _ in range(5)]
        await queued()
        await asyncio.to_thread(begun.wait, DEADLINE)
        answers = await asyncio.wait_for(asyncio.gather(*searches), DEADLINE)
        return [int(answer.labels[0, 0]) for answer in answers]

    with held(thread):
        # In debug mode a loop refuses what another thread puts into it.
        asking = [in_thread(lambda: asyncio.run(ask(), debug=True)) for _ in range(3)]
        begun.wait(DEADLINE)
    assert [each.result(DEADLINE) for each in asking] == [[1] * 5] * 3


def test_a_search_that_fails_fails_for_its_callers_alone(thread: SearchThread) -> None:
    class Broken(CountingIndex):
        def search(self, queries: Vectors, limit: int, allowed: Labels | None = None, exact: bool = False) -> Labels:
            raise RuntimeError("the index is broken")

    whole = thread.change(lambda index: index)
    broken = Broken(DIM)
    broken.add(np.arange(1, DIM + 1), VECTORS)
    thread.replace(broken)

    async def run() -> list[object]:
        with held(thread):
            asked: list[asyncio.Future[Any]] = [queue_search(thread) for _ in range(3)]
            await queued()
        return await outcomes(asked)

    assert [str(error) for error in asyncio.run(run())] == ["the index is broken"] * 3
    with pytest.raises(RuntimeError, match="broken"):
        thread.search_blocking(VECTORS[:1], 1)
    thread.replace(whole)
    assert thread.search_blocking(VECTORS[:1], 1).labels[0, 0] == 1
