"""Build in a child process at low priority: searches keep their core, and a build can be ended at any moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from askew_client.errors import AskewError, sentence_of
from askew_server.index.build import Progress, VectorSource, build_main
from askew_server.index.types import CodedKind

_POLL_SECONDS = 0.2
_NICER = 10


class BuildCancelled(AskewError):
    """The build was cancelled; the older index stays."""


class BuildFailed(AskewError):
    """The build could not be finished; the older index stays."""


def build_in_child(
    source: VectorSource,
    folder: Path,
    kind: CodedKind,
    report: Callable[[Progress], None],
    cancelled: threading.Event,
) -> None:
    """Build a main segment of `source` into `folder`, and wait for it; afterwards `open_main` finds it.

    Blocks the calling thread, in which `report` is called. Raises BuildCancelled soon after `cancelled` is set, and
    BuildFailed with the child's sentence.
    """
    # A forked child would share the engine's threads and the database's file locks.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_build, args=(sender, source, folder, kind), daemon=True)
    child.start()
    sender.close()
    try:
        failure = _listen(receiver, report, cancelled)
    finally:
        # Whatever it is at: an unfinished build is a folder that no record names.
        child.kill()
        child.join()
        receiver.close()
    if failure is not None:
        raise BuildFailed(failure)


def _listen(receiver: Connection, report: Callable[[Progress], None], cancelled: threading.Event) -> str | None:
    """Pass progress on until the child is done: None, or the sentence why it failed."""
    while True:
        if cancelled.is_set():
            raise BuildCancelled("The build was cancelled. The index is as it was before.")
        try:
            if not receiver.poll(_POLL_SECONDS):
                continue
            message = receiver.recv()
        except (EOFError, OSError):
            return "The process that built the index was ended by the system, for lack of memory perhaps."
        if isinstance(message, Progress):
            report(message)
        else:
            failure: str | None = message
            return failure


def _build(sender: Connection, source: VectorSource, folder: Path, kind: CodedKind) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _give_way()
    try:
        build_main(source, folder, kind, sender.send)
        sender.send(None)
    except Exception as error:  # noqa: BLE001
        sender.send(sentence_of(error))


def _give_way() -> None:
    """Leave processors and the disk to searches; not so far that a busy server's index is never built."""
    with contextlib.suppress(OSError):
        os.nice(_NICER)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def _end_with_parent() -> None:
    """A child whose parent was killed would build on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
