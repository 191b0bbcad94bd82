"""Build in a child process at low priority: searches keep their core, and a build can be stopped at any moment."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from askew_client.errors import sentence_of
from askew_server.index.build import Progress, ReportProgress, build_main
from askew_server.index.port import BuildCancelled, BuildFailed, VectorSource
from askew_server.index.types import CodedKind
from askew_server.processes import begin_child

_POLL_SECONDS = 0.2
_NICENESS = 10


def build_in_child(
    source: VectorSource,
    folder: Path,
    kind: CodedKind,
    report: ReportProgress,
    cancelled: Callable[[], bool],
) -> None:
    """Build a main segment of `source` into `folder`, and wait for it; `open_main` opens it afterwards.

    Blocks the calling thread, which also calls `report`. Raises BuildCancelled soon after `cancelled()` is true, and
    BuildFailed with the child's error message.
    """
    # A forked child would share FAISS's threads and the database's file locks.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_build, args=(sender, source, folder, kind), daemon=True)
    child.start()
    sender.close()
    try:
        failure = _listen(receiver, report, cancelled)
    finally:
        # A child killed at any point leaves only a folder that no record names.
        child.kill()
        child.join()
        receiver.close()
    if failure is not None:
        raise BuildFailed(failure)


def _listen(receiver: Connection, report: ReportProgress, cancelled: Callable[[], bool]) -> str | None:
    """Report progress until the child is done. Returns None, or a sentence that says why it failed."""
    while True:
        if cancelled():
            raise BuildCancelled("The build was cancelled. The index is as it was before.")
        try:
            if not receiver.poll(_POLL_SECONDS):
                continue
            message = receiver.recv()
        except (EOFError, OSError):
            return (
                "The process that built the index was ended by the system, perhaps for lack of memory. The older index "
                "is still used."
            )
        if isinstance(message, Progress):
            report(message)
        else:
            failure: str | None = message
            return failure


def _build(sender: Connection, source: VectorSource, folder: Path, kind: CodedKind) -> None:
    begin_child(_NICENESS, is_batch=True)
    try:
        build_main(source, folder, kind, sender.send)
        sender.send(None)
    except Exception as error:  # noqa: BLE001
        sender.send(sentence_of(error))
