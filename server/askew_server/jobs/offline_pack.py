"""The job that makes a gallery's offline pack, and the requests that allow, describe, serve and withdraw it."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from askew_client.contract.jobs import Job
from askew_client.contract.offline_pack import OfflinePackDescription, OfflinePackPolicy, OfflinePackResult
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task
from askew_server.jobs.queue import JobQueue
from askew_server.offline.describing import description_of, is_current, not_made
from askew_server.offline.making import make_pack, require_packable
from askew_server.offline.store import OfflineStore, PackRecord
from askew_server.processes import ChildStopped, Limits

_REMEMBERED = 100
"""How many jobs of a gallery are looked through for the last attempt."""


class OfflinePackJob:
    """Makes the pack of a gallery by the policy that holds when it begins; progress is in half items."""

    name = "offline-pack"
    lane: Lane = "keeping"

    def __init__(self, galleries: Catalog, *, max_pixels: int, limits: Limits, photo_limits: Limits) -> None:
        """`limits`: of making one pack; `photo_limits`: of the thumbnail of one photo."""
        self._galleries = galleries
        self._max_pixels = max_pixels
        self._limits = limits
        self._photo_limits = photo_limits

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        gallery = self._galleries.get(task.gallery)
        OfflineStore(gallery.name, self._galleries.folder(gallery.name)).require_policy()

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> OfflinePackResult:
        """See JobKind."""
        folder = self._galleries.folder(task.gallery)
        try:
            return make_pack(
                task.gallery,
                folder,
                task.id,
                report,
                cancelled,
                max_pixels=self._max_pixels,
                limits=self._limits,
                photo_limits=self._photo_limits,
            )
        except ChildStopped:
            raise JobStopped from None


class OfflinePacks:
    """The packs of a server's galleries. Methods block; they raise Refusal (no-offline-pack, overloaded), OSError."""

    def __init__(self, galleries: Catalog, jobs: JobQueue) -> None:
        self._galleries = galleries
        self._jobs = jobs
        self._changing = threading.Lock()

    def is_allowed(self, gallery: LiveGallery) -> bool:
        """Whether devices may keep a pack of a gallery."""
        return self._store(gallery).policy() is not None

    def allow(self, gallery: LiveGallery, policy: OfflinePackPolicy) -> Job:
        """Allow a pack by a policy and begin to make it. The policy stays as it was if there is no place for a job."""
        require_packable(gallery.name, self._galleries.folder(gallery.name))
        store = self._store(gallery)
        with self._changing:
            before = store.policy()
            # The job that runs first must find the new policy.
            store.allow(policy)
            try:
                return self._submit(gallery)
            except Refusal:
                if before is None:
                    store.withdraw()
                else:
                    store.allow(before)
                raise

    def make(self, gallery: LiveGallery) -> Job:
        """Begin to make the pack again."""
        with self._changing:
            self._store(gallery).require_policy()
            return self._submit(gallery)

    def withdraw(self, gallery: LiveGallery) -> None:
        """Allow no pack any more, and remove it."""
        with self._changing:
            self._store(gallery).withdraw()
            for job in self._jobs.unfinished_of_kind(OfflinePackJob.name, gallery.name):
                # It may have ended since.
                with suppress(Refusal):
                    self._jobs.cancel(job.id)

    def describe(self, gallery: LiveGallery, sequence: int) -> OfflinePackDescription:
        """The pack as it is served now. One that is out of date, and old enough, is made again in the background.

        `sequence`: of the gallery now.
        """
        store = self._store(gallery)
        policy = store.require_policy()
        record = store.served(policy, gallery.space)
        building = None
        if record is None or not is_current(record, policy, sequence):
            building = self._refresh(gallery.name, record, policy)
        building = building or self._unfinished(gallery.name)
        if record is None:
            raise self._not_made(gallery.name, policy, building)
        return description_of(gallery.name, record, policy, sequence, building)

    def file(self, gallery: LiveGallery) -> tuple[Path, str]:
        """The file of the pack, and its SHA-256."""
        store = self._store(gallery)
        policy = store.require_policy()
        record = store.served(policy, gallery.space)
        if record is None:
            raise self._not_made(gallery.name, policy, self._unfinished(gallery.name))
        return store.path(record), record.sha256

    def _submit(self, gallery: LiveGallery) -> Job:
        # A job that runs may have begun with an older policy, or before the last change of the gallery.
        return self._jobs.submit_once(OfflinePackJob.name, gallery=gallery.name, joins_running=False)

    def _store(self, gallery: LiveGallery) -> OfflineStore:
        return OfflineStore(gallery.name, self._galleries.folder(gallery.name))

    def _unfinished(self, gallery: str) -> str | None:
        jobs = self._jobs.unfinished_of_kind(OfflinePackJob.name, gallery)
        return jobs[-1].id if jobs else None

    def _refresh(self, gallery: str, record: PackRecord | None, policy: OfflinePackPolicy) -> str | None:
        """Begin to make a pack that is missing or out of date, if it is due: the job's id."""
        if not policy.refresh_minutes:
            return None
        patience = timedelta(minutes=policy.refresh_minutes)
        if record is not None and _is_within(record.header.created_at, patience):
            return None
        last = self._last(gallery)
        # What has just failed, or was stopped by an administrator, is not tried at every request.
        if last is not None and last.state in {"failed", "cancelled"} and _is_within(last.ended_at, patience):
            return None
        try:
            return self._jobs.submit_once(OfflinePackJob.name, gallery=gallery, joins_running=True).id
        except Refusal:
            return None

    def _last(self, gallery: str) -> Job | None:
        jobs = self._jobs.newest(_REMEMBERED, gallery)
        return next((job for job in jobs if job.kind == OfflinePackJob.name), None)

    def _not_made(self, gallery: str, policy: OfflinePackPolicy, building: str | None) -> Refusal:
        last = self._last(gallery)
        failure = last.problem.detail if last is not None and last.problem is not None else None
        return not_made(gallery, policy, building, failure)


def _is_within(moment: str | None, patience: timedelta) -> bool:
    """Whether a moment lies less than this time ago. One in the future does not: the clock was wrong."""
    if moment is None:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(moment)
    return timedelta(0) <= age < patience
