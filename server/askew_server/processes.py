"""Set up a child process: low priority, ignores Ctrl-C, and ends when its parent ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from multiprocessing import connection

import psutil


def begin_child(niceness: int, *, is_batch: bool = False) -> None:
    """Set up this child process. `is_batch`: also use batch scheduling and idle disk priority.

    A child still makes progress on a busy server.
    """
    # Ctrl-C reaches the whole process group; the parent decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(niceness)
    if not is_batch:
        return
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def _end_with_parent() -> None:
    """End this process once its parent has ended: otherwise the child of a killed parent would run or wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
