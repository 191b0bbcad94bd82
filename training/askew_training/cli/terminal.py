"""Output on standard error: a progress bar with the photos per second, and at the end what was taken and what was not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from askew_client.cli.taken import Intake


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} photos/s")


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show a progress bar of photos on standard error, starting at `done`; yields a function that advances it by one."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda: bar.advance(task)


def print_table(table: Table) -> None:
    """Print a table on standard output, with the names in it as they are: `[x]` and `:x:` in them mean nothing."""
    Console(markup=False, emoji=False).print(Harmless(table))


@dataclass(frozen=True)
class Harmless:
    """What is printed without the signs in it that steer a terminal, which the names of a manifest may hold."""

    content: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Rich prints what this yields."""
        for each in console.render(self.content, options):
            yield each if each.control else Segment("".join(map(_shown, each.text)), each.style)


def _shown(sign: str) -> str:
    return sign if sign.isprintable() or sign == "\n" else ""


AsJson = Annotated[bool, typer.Option("--json", help="Print the result, and what was not taken, as JSON.")]


def finish(intake: Intake, sentence: str, facts: Mapping[str, object], as_json: bool) -> None:
    """End a command: its result on standard output (nothing if `sentence` is empty), and what it took and did not take on standard error.

    `facts`: the result for `as_json`. Raises typer.Exit with code 3 if something that was meant could not be taken.
    """
    intake.print_reasons()
    if as_json:
        typer.echo(json.dumps({**facts, "intake": intake.as_json()}, indent=1, ensure_ascii=False))
    elif sentence:
        typer.echo(sentence)
    typer.echo(f"askew: {intake.summary()}.", err=True)
    if intake.exit_code:
        raise typer.Exit(intake.exit_code)
