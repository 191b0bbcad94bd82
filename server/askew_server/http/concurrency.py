"""Work outside the event loop: in threads, for a client that is still there.

Work that can take long, or hang with a disk, has threads of its own (SlowWork). `asyncio.to_thread`, whose few threads all
share, is for what takes milliseconds: reading a job, a small file.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal

Result = TypeVar("Result")

LARGE_BODY = 100_000
"""Bytes; parsing fewer takes less time than handing them to a thread and back."""
WATCHED_AFTER_SECONDS = 0.02
"""Most searches have ended by then, and cost no watcher."""


async def wait_for_thread(future: Future[Result]) -> Result:
    """Wait for a task of another thread or process; a request that ends cancels it, if it can be cancelled."""
    return await asyncio.wrap_future(future)


class SlowWork:
    """A few threads for work of seconds to minutes, such as checking an encoder, which nothing short waits behind."""

    def __init__(self, name: str, *, threads: int, places: int, busy: str) -> None:
        """`places`: how much may wait or run at once. `busy`: the sentence that refuses more."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = places
        self._busy = busy

    async def run(self, work: Callable[[Callable[[], bool]], Result], receive: Receive | None = None) -> Result:
        """Run `work(cancelled)` in one of the threads. Called on the event loop.

        `cancelled()` is true once the request has ended without an answer, so that the work can stop: it was cancelled, or
        its client has gone. `receive`: of a request whose whole body has arrived, to notice that. Raises Refusal
        (overloaded) if there is no place, ClientDisconnect, and what the work raises.
        """
        if self._free == 0:
            raise Refusal(ProblemKind.OVERLOADED, self._busy, retry_after=10)
        cancelled = threading.Event()
        future = self._pool.submit(work, cancelled.is_set)
        # Taken only now: where no thread can be started, there is no work that would give it back.
        self._free -= 1
        loop = asyncio.get_running_loop()
        # A place is free again when the work has ended, not when nobody waits for it any more.
        future.add_done_callback(lambda _: _call_if_open(loop, self._give_back))
        waiting = wait_for_thread(future)
        try:
            return await (waiting if receive is None else while_connected(receive, waiting))
        finally:
            cancelled.set()

    def close(self) -> None:
        """Drop what waits. What runs was cancelled with its request."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _give_back(self) -> None:
        self._free += 1


async def run_off_loop(request: Request, size: int, work: Callable[[], Result]) -> Result:
    """Run work on a body of `size` bytes, in one of the app's threads for that (`app.state.parsing`) when it is large."""
    if size <= LARGE_BODY:
        return work()
    parsing = request.app.state.parsing
    assert isinstance(parsing, SlowWork)
    return await parsing.run(lambda _: work())


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client disconnects. Raises ClientDisconnect then.

    `receive` belongs to a request whose whole body has arrived.
    """
    task = asyncio.current_task()
    assert task is not None
    watcher = _Watcher(receive, task)
    timer = asyncio.get_running_loop().call_later(WATCHED_AFTER_SECONDS, watcher.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if watcher.has_gone:
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        watcher.end()


def _call_if_open(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    # The server has ended.
    except RuntimeError:
        pass


class _Watcher:
    def __init__(self, receive: Receive, watched: asyncio.Task[Any]) -> None:
        self._receive = receive
        self._watched = watched
        self._task: asyncio.Task[None] | None = None
        self.has_gone = False

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_gone = True
        self._watched.cancel()
