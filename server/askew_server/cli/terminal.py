"""What commands show on a terminal besides their result: progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

Unit = Literal["bytes", "items", "photos"]


class Advance(Protocol):
    """Moves a progress bar to `done` of `total` units. 0 or None: the total is not known."""

    def __call__(self, done: int, total: int | None = None, /) -> None: ...


@contextmanager
def show_progress(what: str, unit: Unit, total: int | None = None) -> Iterator[Advance]:
    """Show a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = [DownloadColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(f"{unit},")]
    columns = [TextColumn(what), BarColumn(), *count, TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done, total=None: progress.update(task, completed=done, total=total or None)
