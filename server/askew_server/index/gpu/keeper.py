"""Keeps a process of the GPU for one gallery's main segment: starts it, proves it, watches it, and starts it again.

A thread of its own does the slow work; the search thread alone uses what it made. Whatever goes wrong here, searches
are answered by the CPU's index, and `state` says why.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from askew_client.errors import sentence_of
from askew_server.errors import Refusal
from askew_server.index.gpu.availability import why_not
from askew_server.index.gpu.options import GpuOptions
from askew_server.index.gpu.process import GpuLost, GpuProcess
from askew_server.index.gpu.proving import Proved, open_proved
from askew_server.index.main_segment import MainSegment
from askew_server.index.port import VectorSource
from askew_server.index.search_thread import SearchThread
from askew_server.index.types import GpuState

_LOOK_SECONDS = 0.25
"""How often a process that no search asks is looked at."""
_LONGEST_PAUSE = 300.0
_STEADY_SECONDS = 120.0
"""A process that lived this long starts the pauses anew."""


class GpuKeeper:
    """Its methods may be called from any thread but the search thread."""

    def __init__(self, gallery: str, source: VectorSource, options: GpuOptions, searches: SearchThread) -> None:
        """Nothing begins before `follow`."""
        self._source = source
        self._options = options
        self._searches = searches
        self._log = logging.getLogger(f"askew.index.{gallery}")
        self._changed = threading.Condition()
        self._is_closed = False
        self._target: MainSegment | None = None
        self._prepared: tuple[MainSegment, Proved] | None = None
        self._used: tuple[MainSegment, Proved] | None = None
        self._starting: set[GpuProcess] = set()
        self._failures = 0
        self._began = self._checked = 0.0
        self._state: GpuState | None = None
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> GpuState | None:
        """What the GPU does for this gallery; None if it is not wanted. Never blocks."""
        return self._state

    def follow(self, main: MainSegment | None) -> None:
        """Search this main segment on the GPU from now on, as soon as that can be; None: none. Returns at once."""
        self._drop_prepared(main)
        with self._changed:
            if self._is_closed or (main is None and self._thread is None):
                return
            if main is not self._target:
                self._failures = 0
            self._target = main
            if main is None:
                self._state = None
            elif self._state is None:
                self._state = GpuState("starting")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gpu-keeper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def prepare(self, main: MainSegment) -> None:
        """Load a main segment that no thread uses yet beside the one that is searched, so that the GPU never pauses.

        Blocks. Where that fails, for lack of memory on the card perhaps, nothing is raised: `follow` begins anew.
        """
        try:
            proved = self._open(main)
        except Exception as error:  # noqa: BLE001
            self._log.info("the new index is not on the GPU yet: %s", sentence_of(error))
            return
        main.faster = proved.engine
        unused: Proved | None = proved
        with self._changed:
            if not self._is_closed:
                unused = None if self._prepared is None else self._prepared[1]
                self._prepared = (main, proved)
        if unused is not None:
            unused.process.close()

    def _drop_prepared(self, main: MainSegment | None) -> None:
        """End a process that was prepared for another main segment than this one: nobody would search or watch it."""
        with self._changed:
            if self._prepared is None or self._prepared[0] is main or self._is_closed:
                return
            (unused, proved), self._prepared = self._prepared, None
        with contextlib.suppress(Refusal):
            # Refused once the search thread has ended, which searches nothing then.
            self._searches.change(lambda _: setattr(unused, "faster", None))
        proved.process.close()

    def retry_now(self) -> None:
        """Try again at once, without the pause that follows a failure."""
        with self._changed:
            self._failures = 0
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin the end: nothing is started any more, and a process that is being started is ended."""
        with self._changed:
            self._is_closed = True
            starting = [*self._starting]
            self._changed.notify_all()
        for process in starting:
            process.kill()

    def close(self) -> None:
        """End the thread and the processes. The search thread has ended."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        for held in (self._used, self._prepared):
            if held is not None:
                held[1].process.close()
        self._used = self._prepared = None

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._step()
            # The index is closed: its search thread takes no more tasks.
            except Refusal:
                return
            # This thread must not end: the process of the GPU would be neither watched nor started again.
            except Exception as error:  # noqa: BLE001
                self._log.exception("the GPU's process could not be looked after")
                self._fail(sentence_of(error))

    def _step(self) -> None:
        """One look at what is and what should be. Raises Refusal once the search thread has ended."""
        target = self._target
        if self._used is not None and self._used[0] is not target:
            self._let_go()
        if target is None:
            self._pause(None)
        elif self._used is None:
            self._begin(target)
        else:
            self._watch(*self._used)

    def _begin(self, target: MainSegment) -> None:
        with self._changed:
            prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is not target:
            prepared[1].process.close()
            prepared = None
        try:
            proved = prepared[1] if prepared is not None else self._open(target)
        # Whatever it is, the CPU's index answers.
        except Exception as error:  # noqa: BLE001
            if not self._is_closed:
                self._fail(sentence_of(error))
            return
        self._used = (target, proved)
        self._searches.change(lambda _: setattr(target, "faster", proved.engine))
        self._began = self._checked = time.monotonic()
        lost = self._state.lost if self._state is not None else 0
        with self._changed:
            if self._target is target:
                self._state = GpuState(
                    "ready", None, lost, len(proved.proof.labels), proved.description, proved.process.pid
                )
        count = f"{len(proved.proof.labels):,}"
        self._log.info("process %s searches %s vectors on the GPU: %s", proved.process.pid, count, proved.description)

    def _watch(self, main: MainSegment, proved: Proved) -> None:
        self._pause(_LOOK_SECONDS)
        now = time.monotonic()
        if now - self._began > _STEADY_SECONDS:
            self._failures = 0
        if now - self._checked > self._options.check_seconds:
            self._checked = now
            self._searches.change(lambda _: proved.check_again())
        reason = self._searches.change(lambda _: proved.process.lost)
        if reason is not None and not self._is_closed:
            self._let_go()
            self._fail(reason, lost=1)

    def _open(self, main: MainSegment) -> Proved:
        """Raises GpuLost, Refusal, and whatever else goes wrong."""
        reason = why_not(self._options)
        if reason is not None:
            raise GpuLost(reason)
        opened: list[GpuProcess] = []

        def started(process: GpuProcess) -> None:
            opened.append(process)
            with self._changed:
                self._starting.add(process)
            if self._is_closed:
                process.kill()

        try:
            return open_proved(main, self._source, self._options, started)
        finally:
            with self._changed:
                self._starting -= {*opened}

    def _let_go(self) -> None:
        """Use the process that is used no more, and end it. Raises Refusal once the search thread has ended."""
        assert self._used is not None
        main, proved = self._used
        self._searches.change(lambda _: setattr(main, "faster", None))
        self._used = None
        proved.process.close()

    def _fail(self, reason: str, *, lost: int = 0) -> None:
        """Say why the GPU is not used, and pause before the next attempt. `lost`: processes that had served."""
        pause = min(_LONGEST_PAUSE, self._options.retry_seconds * 2**self._failures)
        with self._changed:
            if self._state is None:
                return
            if reason != self._state.reason:
                self._log.warning("the gallery is searched on the CPU: %s", reason)
            self._state = GpuState("unavailable", reason, self._state.lost + lost)
            self._failures = min(self._failures + 1, 30)
            failures, target = self._failures, self._target
            self._changed.wait_for(
                lambda: self._is_closed or self._target is not target or self._failures != failures, pause
            )

    def _pause(self, seconds: float | None) -> None:
        with self._changed:
            target = self._target
            self._changed.wait_for(lambda: self._is_closed or self._target is not target, seconds)
