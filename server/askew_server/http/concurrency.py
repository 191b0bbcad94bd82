"""Work for a client that is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

Result = TypeVar("Result")

WATCHED_AFTER_SECONDS = 0.02
"""Most searches have ended by then, and cost no watcher."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client goes. Raises ClientDisconnect then.

    `receive` belongs to a request whose whole body has come.
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
