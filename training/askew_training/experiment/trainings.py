"""The trainings of cells that run at the same time, each in a process of its own."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from askew_client.files import write_atomically
from askew_training.experiment.cells import LOG, RECIPE, CellFolder
from askew_training.experiment.child import Ended, RunningCommand
from askew_training.experiment.workplace import Workplace

SECONDS = "seconds.json"


class Trainings:
    """Up to `jobs` trainings. At the end of the `with` block, those that still run save their state and stop."""

    def __init__(self, jobs: int, options: Sequence[str], place: Workplace) -> None:
        """`options`: of `askew train`."""
        self._jobs, self._options, self._place = jobs, list(options), place
        self._running: list[_Training] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # All are asked before any is waited for: together they take as long as the slowest.
        for each in self._running:
            each.command.ask_to_stop()
        for each in self._running:
            each.command.wait()
            each.note_seconds()

    @property
    def are_full(self) -> bool:
        """Whether no other may begin."""
        return len(self._running) >= self._jobs

    @property
    def count(self) -> int:
        """How many run."""
        return len(self._running)

    def begin(self, folder: CellFolder) -> None:
        """Begin a cell's training, or continue it from its last checkpoint. What is printed goes to its log."""
        resume = ["--resume"] if folder.checkpoint.exists() else []
        arguments = ["train", str(folder.path / RECIPE), str(folder.run), *self._options, *resume]
        # A process that was started, and is not in the list yet, would not be stopped.
        with interruption_deferred():
            self._running.append(_Training(folder, RunningCommand(arguments, folder.path / LOG, self._place)))

    def next_ended(self) -> tuple[CellFolder, Ended]:
        """Wait until one ends. Raises KeyboardInterrupt if it was asked to stop; it is saved then."""
        ready = connection.wait([each.command.sentinel for each in self._running])
        training = next(each for each in self._running if each.command.sentinel in ready)
        ended = training.command.result()
        seconds = training.note_seconds()
        self._running.remove(training)
        return training.folder, Ended(ended.reason, seconds, ended.command)


class _Training:
    """A cell's training in its process. `before`: the seconds of its earlier parts."""

    def __init__(self, folder: CellFolder, command: RunningCommand) -> None:
        self.folder, self.command = folder, command
        self._before = _noted_seconds(folder.path)

    def note_seconds(self) -> float:
        """Write how long all parts of it have taken, and return that."""
        seconds = self._before + self.command.seconds
        write_atomically(self.folder.path / SECONDS, json.dumps(round(seconds, 1)).encode())
        return seconds


def _noted_seconds(folder: Path) -> float:
    try:
        return float(json.loads((folder / SECONDS).read_bytes()))
    except (OSError, ValueError):
        return 0.0


@contextmanager
def interruption_deferred() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])
