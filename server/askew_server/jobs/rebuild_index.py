"""Build a gallery's index anew, as a job that somebody asked for."""

from __future__ import annotations

from dataclasses import asdict

from askew_server.gallery.catalog import Catalog
from askew_server.index.port import BuildCancelled
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Result, Task


class RebuildJob:
    """The index lives with its gallery, which builds one at a time; this waits for its turn and for the end."""

    name = "rebuild-index"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        """See JobKind: the gallery is there."""
        self._galleries.get(task.gallery)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        """See JobKind; the result tells of the new index."""
        index = self._galleries.get(task.gallery).index
        try:
            return asdict(index.rebuild(report, cancelled))
        except BuildCancelled:
            raise JobStopped from None
