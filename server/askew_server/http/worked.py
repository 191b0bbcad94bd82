"""Work on a request's body, out of the way of other requests where it is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_LARGE_BODY = 100_000


async def worked(size: int, work: Callable[[], Result]) -> Result:
    """The result of work on a body of `size` bytes."""
    return await asyncio.to_thread(work) if size > _LARGE_BODY else work()
