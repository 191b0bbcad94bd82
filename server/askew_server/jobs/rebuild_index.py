"""The job that rebuilds a gallery's index on request."""

from __future__ import annotations

from dataclasses import asdict

from askew_client.contract.jobs import RebuildResult
from askew_server.gallery.catalog import Catalog
from askew_server.index.port import BuildCancelled
from askew_server.jobs.gallery_access import awake
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task


class RebuildJob:
    """Rebuilds an index. A gallery builds one index at a time; the job waits for its turn and for the end."""

    name = "rebuild-index"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        self._galleries.get(task.gallery)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> RebuildResult:
        """See JobKind."""
        try:
            with awake(self._galleries.get(task.gallery), cancelled) as index:
                return RebuildResult.model_validate(asdict(index.rebuild(report, cancelled)))
        except BuildCancelled:
            raise JobStopped from None
