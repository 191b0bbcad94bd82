"""Ctrl-C and SIGTERM, noted for the next step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def catch_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C or SIGTERM was received; a second Ctrl-C ends the process at once."""
    received = False

    def note(number: int, _frame: object) -> None:
        nonlocal received
        received = True
        # A second SIGTERM changes nothing: a supervisor may send one to each process of a group, and `askew experiment` another.
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
