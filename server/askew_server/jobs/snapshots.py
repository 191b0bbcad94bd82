"""Jobs that make, verify and restore snapshots."""

from __future__ import annotations

from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Result, Task
from askew_server.maintenance.restore import restore_gallery
from askew_server.maintenance.snapshot_archive import Advance, read_manifest
from askew_server.maintenance.snapshots import Snapshots

UPLOAD = "snapshot.tar"
"""An uploaded snapshot's name in its job's folder."""


class SnapshotJob:
    """Make a snapshot of a gallery; progress is in bytes."""

    name = "snapshot"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        self._galleries.get(task.gallery)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        kept = Snapshots(task.gallery, self._galleries.folder(task.gallery))
        kept.remove_unfinished()
        return kept.create(_advance(report, cancelled)).model_dump(mode="json")


class VerifySnapshotJob:
    """Compare every digest of a snapshot that is kept; progress is in bytes."""

    name = "verify-snapshot"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        self._galleries.folder(task.gallery)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        kept = Snapshots(task.gallery, self._galleries.folder(task.gallery))
        return kept.verify(str(task.parameters["snapshot"]), _advance(report, cancelled)).model_dump(mode="json")


class RestoreJob:
    """Make a gallery of a snapshot that another gallery keeps, or of an uploaded one; progress is in bytes."""

    name = "restore"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        self._archive(task)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        archive = self._archive(task)
        # The name was free when this was written: a gallery of that name is what an earlier run took in.
        adopting = task.folder / "adopting"
        if adopting.exists() and task.gallery in self._galleries.names():
            manifest = read_manifest(archive)
        else:
            advance = _advance(report, cancelled)
            manifest = restore_gallery(self._galleries, task.gallery, archive, advance, adopting.touch)
        return {
            "gallery": task.gallery,
            "items": manifest.items,
            "photos": manifest.photos,
            "space": manifest.space,
            "created_at": manifest.created_at,
        }

    def _archive(self, task: Task) -> Path:
        """The file to restore from. Raises Refusal (unknown-snapshot)."""
        if "snapshot" in task.parameters:
            source = str(task.parameters["gallery"])
            return Snapshots(source, self._galleries.folder(source)).path(str(task.parameters["snapshot"]))
        path = task.folder / UPLOAD
        if not path.is_file():
            raise Refusal(
                ProblemKind.UNKNOWN_SNAPSHOT, "The snapshot that was sent is not there any more. Send it again."
            )
        return path


def _advance(report: Report, cancelled: Cancelled) -> Advance:
    def advance(done: int, total: int) -> None:
        report(done, total)
        if cancelled():
            raise JobStopped

    return advance
