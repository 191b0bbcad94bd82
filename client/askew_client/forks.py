"""Work in the middle of which this process is not forked."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator


def undivided() -> contextlib.AbstractContextManager[None]:
    """A fork by another thread waits until this block has ended.

    A child has only the thread that forked. What another one was doing stays as it is there: a module that it was importing
    is waited for for ever, and so is a lock inside of a library. For work that is short and waits for no other thread.
    """
    return _blocks().block()


class _Blocks:
    """The blocks that run in this process. Those of several threads run side by side."""

    def __init__(self) -> None:
        # All locks are reentrant: a handler of signals may fork in the middle of the block that it interrupts.
        self._door = threading.RLock()
        self._running: set[threading.RLock] = set()
        self._awaited: tuple[threading.RLock, ...] = ()
        self._mine = threading.local()

    @contextlib.contextmanager
    def block(self) -> Iterator[None]:
        if getattr(self._mine, "is_within", False):
            # It must not wait at the door for a fork that waits for the outer block.
            yield
            return
        lock = threading.RLock()
        with lock:
            with self._door:
                self._running.add(lock)
            self._mine.is_within = True
            try:
                yield
            finally:
                self._mine.is_within = False
                self._running.discard(lock)

    def stop(self) -> None:
        """Let no further block begin, and wait for those that run."""
        self._door.acquire()
        self._awaited = tuple(self._running)
        for lock in self._awaited:
            lock.acquire()

    def go_on(self) -> None:
        """Both in the parent and in the child."""
        for lock in self._awaited:
            lock.release()
        self._door.release()


@functools.cache
def _blocks() -> _Blocks:
    blocks = _Blocks()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=blocks.stop, after_in_parent=blocks.go_on, after_in_child=blocks.go_on)
    return blocks
