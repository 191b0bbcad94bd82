"""Which galleries are awake: only so many have their files open and their threads running at a time.

An open gallery takes up to DESCRIPTORS_OF_A_GALLERY descriptors and five threads, and a process has a limit on both. So
when one more is needed than there is room for, the one that was idle for longest goes to sleep: it closes its files and
ends its threads, and wakes with the next request for it.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal

DESCRIPTORS_OF_A_GALLERY = 8
"""Three connections with a database and a log each, the log's index, and one for files that are opened for a moment."""

_SPARE_DESCRIPTORS = 160
"""For everything that is neither a connection nor a gallery: the log, jobs, child processes, files being sent."""

_MOST_AWAKE = 1_000
"""Each has up to five threads."""

_MOST_WAKING = 8
"""Galleries that wake at once."""


class Sleeper(Protocol):
    """A gallery as this module sees it."""

    @property
    def last_used(self) -> float:
        """When it was last used, in seconds of a monotonic clock."""

    def sleep(self) -> bool:
        """Go to sleep, unless it is in use; whether it sleeps now. Never waits for another gallery."""


class AwakeGalleries:
    """The galleries that are awake, at most `limit` of them. May be used from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._awake: set[Sleeper] = set()
        self._lock = threading.Lock()
        # Waking takes from milliseconds to, on a bad disk, minutes. Nothing else waits for these threads.
        self._wakers = ThreadPoolExecutor(_MOST_WAKING, "wake")

    def __len__(self) -> int:
        return len(self._awake)

    def enter(self, gallery: Sleeper) -> None:
        """Take a place for a gallery that wakes, from one that is idle if there is none free.

        Raises Refusal (overloaded) if all the others are in use.
        """
        with self._lock:
            while len(self._awake) >= self.limit:
                asleep = next((each for each in sorted(self._awake, key=_last_used) if each.sleep()), None)
                if asleep is None:
                    raise Refusal(
                        ProblemKind.OVERLOADED,
                        f"{self.limit} galleries are in use, and the server's limit on open files allows no more at a "
                        "time. Try again in a second; if this happens often, raise the limit (`ulimit -n`).",
                        retry_after=1,
                    )
                self._awake.discard(asleep)
            self._awake.add(gallery)

    def submit(self, wake: Callable[[], None]) -> Future[None]:
        """Wake a gallery in a thread."""
        return self._wakers.submit(wake)

    def close(self) -> None:
        """Wake none any more."""
        self._wakers.shutdown(wait=False, cancel_futures=True)

    def leave(self, gallery: Sleeper) -> None:
        """Give back the place of a gallery that was closed, or did not wake."""
        with self._lock:
            self._awake.discard(gallery)


def _last_used(gallery: Sleeper) -> float:
    return gallery.last_used


def share_descriptors(limit: int, connections: int) -> tuple[int, int]:
    """How many connections to accept, and how many galleries to keep awake, with `limit` descriptors.

    `connections`: how many are wanted. Connections get at most half of what there is.
    """
    free = max(0, limit - _SPARE_DESCRIPTORS)
    accepted = max(8, min(connections, free // 2))
    awake = (free - accepted) // DESCRIPTORS_OF_A_GALLERY
    return accepted, max(4, min(_MOST_AWAKE, awake))


def default_limit() -> int:
    """How many galleries this process can keep awake, if it accepts no connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_AWAKE if soft == resource.RLIM_INFINITY else share_descriptors(soft, 0)[1]
