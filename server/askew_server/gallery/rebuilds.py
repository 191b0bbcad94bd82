"""Rebuilds of one index: one at a time on a background thread, started automatically or on request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from askew_server.index.port import BuildCancelled, Report, gallery_closed

Build = Callable[[Report, Callable[[], bool]], None]
"""build(report, cancelled): rebuilds the index. Raises BuildCancelled soon after `cancelled()` is true."""

Result = TypeVar("Result")

_SECONDS_AFTER_FAILURE = 600.0
_MAX_BUILDS_IN_A_ROW = 3
_POLL_SECONDS = 0.02
_NOT_BEGUN = "The build was cancelled before it began. The index is as it was before."


class Rebuilds:
    """Runs rebuilds for an index that stays in use. Safe to use from any thread."""

    def __init__(self, gallery: str, build: Build, reason: Callable[[], str | None]) -> None:
        """`reason`: returns why a rebuild pays now, or None; see SegmentedIndex.wants_rebuild."""
        self._gallery = gallery
        self._build = build
        self._reason = reason
        self._log = logging.getLogger(f"askew.index.{gallery}")
        self._thread = ThreadPoolExecutor(1, f"index-{gallery}")
        self._submitting = threading.Lock()
        self._closed = threading.Event()
        self._latest: Future[None] | None = None
        self._not_before = 0.0
        self._ended = {"ok": 0, "failed": 0}
        self.failure: str | None = None

    @property
    def ended(self) -> Mapping[str, int]:
        """How many rebuilds ended, by outcome (ok, failed)."""
        return dict(self._ended)

    @property
    def is_building(self) -> bool:
        """Whether an automatic rebuild is running or queued."""
        return self._latest is not None and not self._latest.done()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: no rebuild begins any more, and a running one is being cancelled."""
        return self._closed.is_set()

    def is_closed_after(self, seconds: float) -> bool:
        """Wait so long, or until `close` is called; whether it was."""
        return self._closed.wait(seconds)

    def submit(self, task: Callable[[], Result]) -> Future[Result]:
        """Queue a task for the background thread. Raises Refusal (unknown-gallery) once closed."""
        with self._submitting:
            if self.is_closed:
                raise gallery_closed(self._gallery)
            return self._thread.submit(task)

    def retry_now(self) -> None:
        """Let the next rebuild begin without the delay that follows a failure."""
        self._not_before = 0.0

    def begin(self, reason: str | None) -> None:
        """Begin a rebuild in the background if there is a reason and none is running or queued."""
        if reason is None:
            return
        with self._submitting:
            if self.is_building or self.is_closed or time.monotonic() < self._not_before:
                return
            self._log.info("rebuilding the index: %s", reason)
            self._latest = self._thread.submit(self.run_while_needed)

    def run_while_needed(self) -> None:
        """Rebuild, and repeat while there is a reason. A failure is logged; the older index stays in use."""
        try:
            for _ in range(_MAX_BUILDS_IN_A_ROW):
                self._run(lambda done, total: None, self._closed.is_set)
                # Much may have been written during the build.
                if self._reason() is None:
                    return
        except BuildCancelled:
            return
        # Any failure: a later change of the gallery tries again.
        except Exception as error:  # noqa: BLE001
            self._not_before = time.monotonic() + _SECONDS_AFTER_FAILURE
            self._log.exception("the index could not be rebuilt: %s", error)

    def run(self, report: Report, cancelled: Callable[[], bool]) -> None:
        """Rebuild and wait for it. A rebuild that is under way is finished first.

        Raises BuildCancelled, also if the index is closed in the meantime, Refusal (unknown-gallery) once closed, and
        anything that the build raises.
        """

        def is_cancelled() -> bool:
            return cancelled() or self.is_closed

        def task() -> None:
            if is_cancelled():
                raise BuildCancelled(_NOT_BEGUN)
            self._run(report, is_cancelled)

        future = self.submit(task)
        while not future.done():
            if is_cancelled():
                future.cancel()
            wait([future], _POLL_SECONDS)
        try:
            future.result()
        except CancelledError:
            raise BuildCancelled(_NOT_BEGUN) from None

    def close(self) -> None:
        """Cancel the running task, drop queued ones, and end the thread."""
        with self._submitting:
            self._closed.set()
        self._thread.shutdown(cancel_futures=True)

    def _run(self, report: Report, cancelled: Callable[[], bool]) -> None:
        try:
            self._build(report, cancelled)
        except BuildCancelled:
            raise
        except BaseException as error:
            self._ended["failed"] += 1
            self.failure = str(error)
            raise
        self._ended["ok"] += 1
        self.failure = None
