"""Running a command of `askew` in a process of its own: if it is killed or runs out of memory, the experiment goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from askew_client.cli.main import main
from askew_client.cli.taken import EXIT_INCOMPLETE
from askew_client.files import write_atomically
from askew_training.experiment.cells import LOG, RECIPE, CellFolder
from askew_training.experiment.workplace import Workplace

SECONDS = "seconds.json"
INTERRUPTED = 130
PRELOADED = ("askew_training.train.loop", "askew_training.experiment.child")
_NOT_SHOWN = re.compile(r"[^\x20-\x7e\u00a0-\u24ff\u2600-\uffff]")
"""Control signs, and the frames of a terminal."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. `reason`: why it failed, "" if it did not. `seconds`: with earlier parts of the same training."""

    reason: str
    seconds: float
    command: tuple[str, ...]


def train_cell(folder: CellFolder, options: Sequence[str], place: Workplace) -> Ended:
    """Train a cell to its end, from its last checkpoint if it has one. What is printed goes to its log.

    `options`: of `askew train`. Raises KeyboardInterrupt if the training was asked to stop; it is saved then.
    """
    resume = ["--resume"] if folder.checkpoint.exists() else []
    before = _seconds(folder.path)
    started = time.monotonic()

    def so_far() -> float:
        return before + time.monotonic() - started

    arguments = ["train", str(folder.path / RECIPE), str(folder.run), *options, *resume]
    try:
        ended = run_command(arguments, folder.path / LOG, place)
    finally:
        write_atomically(folder.path / SECONDS, json.dumps(round(so_far(), 1)).encode())
    return Ended(ended.reason, so_far(), ended.command)


def run_command(arguments: Sequence[str], log: Path, place: Workplace) -> Ended:
    """Run `askew` with these arguments, and append what it prints to a log.

    The process holds the experiment's lock as long as it runs, also if this process is killed. Raises KeyboardInterrupt if
    it was asked to stop.
    """
    started = time.monotonic()
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ askew {' '.join(arguments)}\n")
    # Forked from a server that has imported torch: that would take longer than many a short command.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=_run, args=(list(arguments), str(log), _Lock(place.held)))
    process.start()
    code = _wait(process)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return Ended(_reason(code, log), time.monotonic() - started, ("askew", *arguments))


class _Lock:
    """The descriptor of a lock, which a process that gets it as an argument inherits."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[[Any], _Lock], tuple[Any]]:
        return _inherited, (reduction.DupFd(self.descriptor),)


def _inherited(descriptor: Any) -> _Lock:
    return _Lock(descriptor.detach())


def _run(arguments: list[str], log: str, lock: _Lock) -> None:
    """In the process: print to the log, and run the command."""
    assert lock.descriptor >= 0
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        main(arguments)
    finally:
        # After an error, the process that reads photos ahead is still there. It ignores SIGTERM, with which Python would
        # ask it to end, and would be waited for without end.
        for worker in multiprocessing.active_children():
            worker.kill()


def _wait(process: ForkServerProcess) -> int:
    """Wait for its end; if this process is to stop, let it stop and save first."""
    try:
        process.join()
    except KeyboardInterrupt:
        process.terminate()
        process.join()
        raise
    return process.exitcode or 0


def _seconds(folder: Path) -> float:
    try:
        return float(json.loads((folder / SECONDS).read_bytes()))
    except (OSError, ValueError):
        return 0.0


def _reason(code: int, log: Path) -> str:
    """Why it failed, in the last words of its log; "" if it did not."""
    if code in (0, EXIT_INCOMPLETE):
        return ""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}; see {log}"
    lines = [
        _NOT_SHOWN.sub("", line).strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    said = [line for line in lines if line]
    return f"{said[-1].removeprefix('askew: ')} (exit code {code}; see {log})"
