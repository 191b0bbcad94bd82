"""What commands show on a terminal in the same way: their result, and progress bars."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

import typer

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


def print_summary(as_json: bool, summary: Mapping[str, object], sentence: str) -> None:
    """Print the result of a command: for programs, or for a person."""
    typer.echo(json.dumps(summary) if as_json else sentence)
