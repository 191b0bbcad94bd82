"""Work on many photos in several threads; decoding releases the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from askew_client.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
BLOCK = 256


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the results of a function for many items, in their order, computed by one thread for each core.

    Only one block of items is submitted at a time, so that stopping early, or with Ctrl-C, takes only a moment.
    """
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="photos") as pool:
        for start in range(0, len(items), BLOCK):
            yield from pool.map(function, items[start : start + BLOCK])
