"""How jobs ended, where the disk does not take that now: a full disk is what many of them fail of.

It is answered from memory, and recorded as soon as there is room. If the server ends before, the job runs again at the next
start, as one that was interrupted.
"""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from askew_client.contract.jobs import Job
from askew_client.contract.problems import Problem
from askew_server.clock import utc_milliseconds
from askew_server.jobs.store import JobStore
from askew_server.storage.errors import DatabaseError


@dataclass(frozen=True)
class Ending:
    """How a job ended. `result`: of one that is done; `problem`: of one that failed. `at`: when, as jobs say it."""

    state: Literal["done", "failed", "cancelled"]
    result: BaseModel | None = None
    problem: Problem | None = None
    at: str = field(default_factory=utc_milliseconds)


class Endings:
    """The endings that are not in the table of jobs yet, by job. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, Ending] = {}
        self._log = logging.getLogger("askew.jobs")

    @property
    def are_kept(self) -> bool:
        """Whether there are any."""
        return bool(self._kept)

    def knows(self, job_id: str) -> bool:
        """Whether a job has ended, whatever the table of jobs says."""
        return job_id in self._kept

    def record(self, store: JobStore, job_id: str, ending: Ending) -> None:
        """Write an ending into the table of jobs, or keep it."""
        with self._lock:
            try:
                _write(store, job_id, ending)
            except DatabaseError as error:
                self._kept[job_id] = ending
                self._log.error(
                    "job %s has ended (%s), which cannot be recorded now: %s. It is tried again.",
                    job_id,
                    ending.state,
                    error,
                )
                # What was sent for it may be what fills the disk. The result of one that is done is in there.
                if ending.state != "done":
                    shutil.rmtree(store.folder / job_id, ignore_errors=True)

    def record_again(self, store: JobStore) -> None:
        """Write what was kept, as far as the disk takes it now."""
        with self._lock:
            for job_id, ending in list(self._kept.items()):
                try:
                    _write(store, job_id, ending)
                except DatabaseError:
                    return
                del self._kept[job_id]
                self._log.warning("job %s has ended (%s), and that is recorded now", job_id, ending.state)

    def applied_to(self, job: Job) -> Job:
        """A job of the table, as it has ended."""
        ending = self._kept.get(job.id)
        if ending is None:
            return job
        result = None if ending.result is None else ending.result.model_dump(mode="json")
        return job.model_copy(
            update={"state": ending.state, "result": result, "problem": ending.problem, "ended_at": ending.at}
        )

    def counted(self, store: JobStore) -> dict[tuple[str, ...], float]:
        """The number of jobs of each kind in each state. Raises DatabaseError."""
        counts = store.counts()
        for job in map(store.job, list(self._kept)):
            if job is not None:
                counts[job.kind, job.state] = counts.get((job.kind, job.state), 0.0) - 1
                ended = job.kind, self.applied_to(job).state
                counts[ended] = counts.get(ended, 0.0) + 1
        return counts


def _write(store: JobStore, job_id: str, ending: Ending) -> None:
    store.end(job_id, ending.state, result=ending.result, problem=ending.problem, at=ending.at)
