"""Output on standard error: a progress bar with the photos per second, and the photos that were skipped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} photos/s")


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show a progress bar of photos on standard error, starting at `done`; yields a function that advances it by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda: bar.advance(task)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM (timeout, systemd, Slurm) end a command as Ctrl-C does: what was computed is kept, the exit code is 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_skipped(sentences: Sequence[str]) -> None:
    """Print why each photo was skipped, and their number."""
    console = Console(stderr=True)
    for sentence in sentences:
        console.print(f"skipped: {sentence}", highlight=False, markup=False)
    if sentences:
        console.print(f"{len(sentences)} photos were skipped.", highlight=False)
