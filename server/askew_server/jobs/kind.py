"""What a kind of job is; see the package's docstring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import JsonValue

Lane = Literal["describing", "keeping"]
Report = Callable[[int, int | None], None]
"""report(done, total): how far the job is; `total` None where it is unknown."""
Cancelled = Callable[[], bool]
Result = dict[str, JsonValue]


class JobStopped(Exception):
    """Raised by a job's `run` because `cancelled()` said so."""


@dataclass(frozen=True)
class Task:
    """A job as its kind sees it: what was asked for, and the folder that is its own."""

    id: str
    gallery: str
    parameters: dict[str, JsonValue]
    folder: Path


class JobKind(Protocol):
    """The work of one kind of job."""

    name: str
    lane: Lane

    def check_input(self, task: Task) -> None:
        """Raise AskewError when what the job needs on disk is gone."""

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        """Do the work, perhaps a second time after a crash; the job's result. Raises JobStopped, AskewError."""
