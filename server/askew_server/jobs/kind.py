"""The interface of a kind of job, and how to add one.

A job outlasts its request, which is answered with 202 and a Job. A kind of job is an object with the members of JobKind,
registered once before the queue starts:

    class RebuildJob:
        name = "rebuild-index"      # Job.kind
        lane = "keeping"            # "describing" for photos that were sent, "changing" for changes of teacher

        def check_input(self, task: Task) -> None:
            ...                     # raise AskewError when what it needs on disk is gone; called before each run

        def run(self, task: Task, report: Report, cancelled: Cancelled) -> RebuildResult:
            ...                     # do the work; return the job's result

    jobs.register(RebuildJob(galleries))
    job = jobs.submit("rebuild-index", gallery="museum", parameters={})     # raises Refusal (overloaded) when full

`task.parameters` is the JSON object that was given to `submit`. `task.folder` (DATA/jobs/ID) belongs to the job and is
removed when the job has ended. Input is put there before the job is submitted (`with jobs.spool("museum") as folder: …`), and
what must survive a crash is written there.

A job that was waiting or running when the server ended is run again at the next start, with the same parameters and
folder. So `run` must give the right result when it is called a second time.

Each lane has one worker thread, so that a snapshot need not wait for a day of describing, nor a photo for a change of
teacher. Heavy computation belongs in a child process at low priority (encoders/describer.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, JsonValue

Lane = Literal["describing", "changing", "keeping"]
Report = Callable[[int, int | None], None]
"""report(done, total): a job's progress; `total` None if unknown. Cheap enough to be called for every unit of work."""
Cancelled = Callable[[], bool]
"""Whether the job was cancelled or the server stops. Then `run` should raise JobStopped within a second or so."""


OTHER_GALLERIES = ("into", "gallery")
"""The parameters of a job that name another gallery than its own."""


class JobStopped(Exception):
    """Raised by a job's `run` because `cancelled()` returned true."""


@dataclass(frozen=True)
class Task:
    """A job as its kind sees it: what was requested, and the job's folder."""

    id: str
    gallery: str
    parameters: dict[str, JsonValue]
    folder: Path

    @property
    def galleries(self) -> set[str]:
        """Every gallery that it reads or changes."""
        others = (self.parameters.get(name) for name in OTHER_GALLERIES)
        return {self.gallery, *(each for each in others if isinstance(each, str))}


class JobKind(Protocol):
    """The work of one kind of job."""

    name: str
    lane: Lane

    def check_input(self, task: Task) -> None:
        """Check that what the job needs on disk exists. Raises AskewError, which becomes the job's problem."""

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> BaseModel:
        """Do the work, possibly for a second time after a crash; returns the job's result, a model of contract/jobs.py.

        Raises JobStopped; or AskewError, which becomes the job's problem.
        """
