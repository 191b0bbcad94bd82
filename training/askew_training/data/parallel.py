"""Work on many photos with several threads; decoding releases the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
BLOCK = 256


def mapped(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results of a function for many items, in their order, computed by as many threads as there are cores.

    Only a block of items is under way at a time, so that stopping early, or by Ctrl-C, takes a moment only.
    """
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="photos") as pool:
        for start in range(0, len(items), BLOCK):
            yield from pool.map(function, items[start : start + BLOCK])
