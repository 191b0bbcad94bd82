"""How many changes are under way, so that a server that makes way can wait until the last one is acknowledged or refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WritesUnderWay:
    """Counts requests that change something. May be used from any thread."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    @property
    def count(self) -> int:
        """How many are under way."""
        return self._count

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one while the block runs."""
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until none is under way; whether that was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, seconds)
