"""The jobs that make, verify and restore snapshots."""

from __future__ import annotations

from pathlib import Path

from askew_client.contract.jobs import RestoreResult
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import Snapshot
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task
from askew_server.maintenance.restore import restore_gallery
from askew_server.maintenance.snapshot_archive import Advance, read_manifest
from askew_server.maintenance.snapshots import Snapshots

UPLOAD = "snapshot.tar"
"""The file name of an uploaded snapshot in its job's folder."""


class SnapshotJob:
    """Makes a snapshot of a gallery; progress is in bytes."""

    name = "snapshot"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        gallery = self._galleries.get(task.gallery)
        Snapshots(gallery.name, self._galleries.folder(gallery.name)).require_possible()

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Snapshot:
        """See JobKind."""
        snapshots = Snapshots(task.gallery, self._galleries.folder(task.gallery))
        snapshots.remove_unfinished()
        return snapshots.create(_advance(report, cancelled))


class VerifySnapshotJob:
    """Compares every digest of a snapshot; progress is in bytes."""

    name = "verify-snapshot"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        self._galleries.folder(task.gallery)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Snapshot:
        """See JobKind."""
        snapshots = Snapshots(task.gallery, self._galleries.folder(task.gallery))
        return snapshots.verify(str(task.parameters["snapshot"]), _advance(report, cancelled))


class RestoreJob:
    """Makes a gallery from a snapshot of another gallery, or from an uploaded one; progress is in bytes."""

    name = "restore"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        self._archive(task)

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> RestoreResult:
        """See JobKind."""
        archive = self._archive(task)
        # The name was free when this file was written, so a gallery of that name was taken in by an earlier run.
        adopting = task.folder / "adopting"
        if adopting.exists() and task.gallery in self._galleries.names():
            manifest = read_manifest(archive)
        else:
            advance = _advance(report, cancelled)
            manifest = restore_gallery(self._galleries, task.gallery, archive, advance, adopting.touch)
        return RestoreResult(
            gallery=task.gallery,
            items=manifest.items,
            photos=manifest.photos,
            space=manifest.space,
            created_at=manifest.created_at,
        )

    def _archive(self, task: Task) -> Path:
        """The file to restore from. Raises Refusal (unknown-snapshot)."""
        if "snapshot" in task.parameters:
            source = str(task.parameters["gallery"])
            return Snapshots(source, self._galleries.folder(source)).path(str(task.parameters["snapshot"]))
        path = task.folder / UPLOAD
        if not path.is_file():
            raise Refusal(
                ProblemKind.UNKNOWN_SNAPSHOT,
                "The snapshot that was sent was lost when the server ended. Send it again.",
            )
        return path


def _advance(report: Report, cancelled: Cancelled) -> Advance:
    def advance(done: int, total: int) -> None:
        report(done, total)
        if cancelled():
            raise JobStopped

    return advance
