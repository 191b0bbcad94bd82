"""Running a command of `askew` in a process of its own: if it is killed or runs out of memory, the experiment goes on."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any

from askew_client.cli.main import main
from askew_client.cli.taken import EXIT_INCOMPLETE
from askew_training.experiment.workplace import Workplace

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


class RunningCommand:
    """A command of `askew` in a process of its own, which appends what it prints to a log.

    The process holds the experiment's lock as long as it runs, also if this process is killed.
    """

    def __init__(self, arguments: Sequence[str], log: Path, place: Workplace) -> None:
        """Start it."""
        self._arguments, self._log, self._started = tuple(arguments), log, time.monotonic()
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ askew {' '.join(arguments)}\n")
        # Forked from a server that has imported torch: that would take longer than many a short command.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._process = context.Process(target=_run, args=(list(arguments), str(log), _Lock(place.held)))
        self._process.start()

    @property
    def sentinel(self) -> int:
        """What `multiprocessing.connection.wait` takes: it is ready when the command has ended."""
        return self._process.sentinel

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._started

    def ask_to_stop(self) -> None:
        """Let it save and stop."""
        self._process.terminate()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.join()

    def result(self) -> Ended:
        """How it ended, once it has. Raises KeyboardInterrupt if it was asked to stop."""
        self.wait()
        code = self._process.exitcode or 0
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return Ended(_reason(code, self._log), self.seconds, ("askew", *self._arguments))


def run_command(arguments: Sequence[str], log: Path, place: Workplace) -> Ended:
    """Run `askew` with these arguments to its end.

    Raises KeyboardInterrupt if it, or this process, was asked to stop; it has stopped then.
    """
    command = RunningCommand(arguments, log, place)
    try:
        command.wait()
    except KeyboardInterrupt:
        command.ask_to_stop()
        command.wait()
        raise
    return command.result()


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
