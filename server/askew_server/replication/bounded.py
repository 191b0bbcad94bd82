"""Calls of another server that can be given up: a timeout for each read does not bound an answer that trickles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

_SECONDS_BETWEEN_LOOKS = 0.25


class GivenUp(Exception):
    """A call took longer than it may, or nobody waits for it any more. Its text says which."""


class BoundedCalls:
    """Makes calls, each in a thread of its own, and waits for them no longer than they may take.

    The thread of a call that was given up ends with its next byte of the body, or with its connection, which the caller
    breaks off; what it returns is dropped. May be used from several threads.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._deadline: float | None = None

    def stop(self) -> None:
        """Give up every call, those to come as well, until `go_on`."""
        self._stopped.set()

    def go_on(self) -> None:
        """Take calls again."""
        self._stopped.clear()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give up whatever is called in the block and has not ended after so many seconds, all together."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def call(self, work: Callable[[Callable[[], None]], Result], seconds: float) -> Result:
        """The result of `work`, which calls what it is given after each part of the answer. Raises GivenUp, and what it raises."""
        ends = min(time.monotonic() + seconds, self._deadline or float("inf"))
        is_given_up = threading.Event()
        outcome: Future[Result] = Future()

        def check() -> None:
            if is_given_up.is_set():
                raise GivenUp

        def run() -> None:
            try:
                outcome.set_result(work(check))
            except BaseException as error:  # noqa: BLE001
                outcome.set_exception(error)

        threading.Thread(target=run, name="follow-call", daemon=True).start()
        while True:
            reason = "it was stopped" if self._stopped.is_set() else ""
            if time.monotonic() >= ends:
                reason = "its answer did not end in time"
            if reason:
                is_given_up.set()
                raise GivenUp(reason)
            try:
                return outcome.result(timeout=min(_SECONDS_BETWEEN_LOOKS, max(0.001, ends - time.monotonic())))
            except TimeoutError:
                if outcome.done():
                    raise
