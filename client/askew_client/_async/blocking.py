"""The parts of the client that cannot be generated: `_sync/blocking.py` is written by hand and has the same names."""

from __future__ import annotations

import asyncio
import os
from asyncio import Semaphore
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from askew_client.contract.errors import ClientMisused

__all__ = ["BACKEND", "LoopGuard", "Semaphore", "run_blocking", "sleep"]

P = ParamSpec("P")
T = TypeVar("T")

BACKEND = ("anyio", "anyio.to_thread", "anyio._backends._asyncio", "concurrent.futures.thread")
"""The modules of the event loop's sockets, which httpcore imports at the first request, and of the threads that look up
names and read files.
"""


async def sleep(seconds: float) -> None:
    """Wait without blocking the event loop."""
    await asyncio.sleep(seconds)


async def run_blocking(function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function that reads files or computes, in a thread: the event loop has other requests to serve."""
    return await asyncio.to_thread(function, *arguments, **named)


class LoopGuard:
    """Keeps a client in the event loop that opened its connections."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()

    def check(self) -> None:
        """Raises ClientMisused outside of an event loop, and in another one than before."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ClientMisused(
                "Expected to run inside asyncio's event loop, but no loop is running. Start one with "
                "asyncio.run(main()), or use Client instead of AsyncClient."
            ) from None
        if self._loop is None or self._process != os.getpid():
            # A forked process has event loops of its own, and the pool gives it connections of its own.
            self._loop, self._process = loop, os.getpid()
        elif self._loop is not loop:
            raise ClientMisused(
                "This AsyncClient was already used in another event loop. Open one in each loop: "
                "`async with AsyncClient(url)` inside the function that asyncio.run runs."
            )
