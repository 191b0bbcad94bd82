"""Waiting for what happens in another thread or process, with a deadline that no slow machine reaches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

DEADLINE = 120.0
"""Seconds after which a test fails that waits for something."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition. AssertionError, naming what it waited for, at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s for {what}"
        time.sleep(0.01)


def in_thread(call: Callable[[], Result]) -> Future[Result]:
    """Run a call in a daemon thread, which blocks neither the test nor its process if it never returns."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome
