"""Child processes: low priority, deaf to Ctrl-C, and ended when their parent ends; work that is done in one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psutil

from askew_client.errors import AskewError, sentence_of

P = ParamSpec("P")
Result = TypeVar("Result")
Say = Callable[[object], None]
"""say(message): sends any picklable object to the parent."""

_NICENESS = 10
_POLL_SECONDS = 0.2


class ChildStopped(Exception):
    """The work in a child process was stopped because its parent wanted it no more."""


class ChildLost(Exception):
    """The child process ended without an answer: it was killed, perhaps for lack of memory."""


def run_in_child(
    work: Callable[Concatenate[Say, P], Result],
    hear: Callable[[Any], None],
    cancelled: Callable[[], bool],
    /,
    *arguments: P.args,
    **named: P.kwargs,
) -> Result:
    """Call `work(say, *arguments)` in a child process at low priority and return its result, which is pickled.

    Blocks the calling thread, which also calls `hear` with what the child says. Raises ChildStopped soon after
    `cancelled()` is true, ChildLost, and what `work` raises, or AskewError with its sentence if it cannot be pickled.
    """
    # A forked child would share FAISS's threads and the database's file locks.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(sender, work, arguments, named), daemon=True)
    child.start()
    sender.close()
    try:
        while True:
            if cancelled():
                raise ChildStopped
            try:
                if not receiver.poll(_POLL_SECONDS):
                    continue
                kind, content = receiver.recv()
            except (EOFError, OSError):
                raise ChildLost from None
            if kind == "said":
                hear(content)
            elif kind == "failed":
                raise content
            else:
                return cast(Result, content)
    finally:
        # Whatever it writes is not looked at before it has answered.
        child.kill()
        child.join()
        receiver.close()


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


def _work(
    sender: connection.Connection,
    work: Callable[..., object],
    arguments: tuple[object, ...],
    named: dict[str, object],
) -> None:
    begin_child(_NICENESS, is_batch=True)
    try:
        result = work(lambda message: sender.send(("said", message)), *arguments, **named)
        sender.send(("done", result))
    except Exception as error:  # noqa: BLE001
        # A traceback is not pickled. As a note it reaches the parent's log, and no message to a user.
        place = "".join(traceback.format_exception(error))
        failed = _picklable(error)
        failed.add_note(place)
        sender.send(("failed", failed))


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001
        return AskewError(sentence_of(error))
    return error
