"""Work outside the event loop: parsing in a thread, waiting for other threads, and for a client that is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

Result = TypeVar("Result")

LARGE_BODY = 100_000
"""Bytes; parsing fewer takes less time than handing them to a thread and back."""
WATCHED_AFTER_SECONDS = 0.02
"""Most searches have ended by then, and cost no watcher."""


async def run_off_loop(size: int, work: Callable[[], Result]) -> Result:
    """Run work on a body of `size` bytes, in a thread when the body is large."""
    return await asyncio.to_thread(work) if size > LARGE_BODY else work()


async def wait_for_thread(future: Future[Result]) -> Result:
    """Wait for a task of another thread or process; a request that ends cancels it if it has not begun."""
    return await asyncio.wrap_future(future)


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
