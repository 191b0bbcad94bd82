"""Waiting for a job: when to look at it again, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from askew_client.contract.errors import JobFailed, JobUnfinished
from askew_client.contract.jobs import ENDED_STATES, Job

FIRST_PAUSE = 0.05
"""Seconds between the first two looks at a job; each pause is 1.5 times the one before."""
LONGEST_PAUSE = 2.0


class Waiting:
    """One wait for one job."""

    def __init__(self, timeout: float | None, progress: Callable[[Job], None] | None) -> None:
        """`timeout`: seconds; None: no limit. `progress`: called with the job at each look."""
        self._timeout = timeout
        self._progress = progress
        self._began = time.monotonic()
        self._pause = FIRST_PAUSE

    def is_over(self, job: Job) -> bool:
        """Whether the job is done. Raises JobFailed, JobUnfinished."""
        if self._progress is not None:
            self._progress(job)
        if job.state == "done":
            return True
        if job.state in ENDED_STATES:
            raise JobFailed(job)
        if self._timeout is not None and time.monotonic() - self._began >= self._timeout:
            raise JobUnfinished(job, self._timeout)
        return False

    def pause(self) -> float:
        """Seconds until the next look."""
        pause = self._pause
        self._pause = min(1.5 * pause, LONGEST_PAUSE)
        if self._timeout is None:
            return pause
        return min(pause, max(0.0, self._began + self._timeout - time.monotonic()))
