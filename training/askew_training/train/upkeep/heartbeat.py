"""A line every ten seconds that says what a run is doing, where nobody sees a progress bar."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

EVERY = 10.0

Doing = Callable[[str], None]
"""Takes what a run is doing now, in words."""


def tell_nobody(what: str) -> None:
    """For who does not want to know what a run is doing."""


class Heartbeat:
    """Says what is going on: at once, and then every ten seconds until the `with` block ends.

    Call it with what is going on now. A thread of its own speaks, so that it also does while photos are read, tuples are
    mined, or a GPU is prepared.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        what: str,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """`what`: is going on at first. `wait`: waits so many seconds, and returns whether the end has come."""
        self._say, self._what, self._clock = say, what, clock
        self._ended = threading.Event()
        self._wait = self._ended.wait if wait is None else wait
        self._started = clock()
        self._thread = threading.Thread(target=self.speak, name="heartbeat", daemon=True)

    def __call__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def speak(self) -> None:
        """Say a line every ten seconds until the end."""
        spoken = 0
        while True:
            seconds = int(self._clock() - self._started)
            self._say(f"[{seconds // 60}:{seconds % 60:02d}] {self._what}")
            # By the clock, not by counting: a line that came late does not delay the following ones.
            spoken = max(spoken, int((self._clock() - self._started) // EVERY)) + 1
            if self._wait(max(0.0, self._started + spoken * EVERY - self._clock())):
                return
