"""The hand-written twin of `_async/blocking.py`: the same names for a client that blocks its thread."""

from __future__ import annotations

from collections.abc import Callable
from threading import Semaphore
from time import sleep
from typing import ParamSpec, TypeVar

__all__ = ["BACKEND", "LoopGuard", "Semaphore", "run_blocking", "sleep"]

P = ParamSpec("P")
T = TypeVar("T")

BACKEND: tuple[str, ...] = ()
"""Nothing: httpcore itself opens the sockets."""


def run_blocking(function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function in this thread."""
    return function(*arguments, **named)


class LoopGuard:
    """Nothing to guard: a Client works in every thread, inside and outside of event loops."""

    def check(self) -> None:
        """Does nothing."""
