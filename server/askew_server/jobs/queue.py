"""The queue of a server's jobs: submitted, run one after the other in each lane, cancelled, resumed after a restart."""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

from pydantic import JsonValue

from askew_client.contract.jobs import ENDED_STATES, Job
from askew_client.contract.problems import Problem, ProblemKind, problem_of
from askew_server.errors import Refusal
from askew_server.jobs.endings import Ending, Endings
from askew_server.jobs.kind import JobKind, JobStopped, Lane, Task
from askew_server.jobs.store import MAX_ENDED, JobStore
from askew_server.problems import report_error
from askew_server.storage.errors import DatabaseError

SECONDS_BETWEEN_WRITES = 5.0
"""How old a job's progress on the disk may be; requests are answered from memory."""
SECONDS_BETWEEN_RECORDS = 1.0
"""After which it is tried again to record how a job ended, where the disk was full."""
RETRY_AFTER = 30
MAX_RECEIVED = 8
"""Inputs of jobs of one gallery that are received at once: each may fill gigabytes of the disk."""


class JobQueue:
    """The jobs of one DATA directory. Kinds are registered first, then the queue is started."""

    def __init__(self, data: Path, *, max_jobs: int, max_ended: int = MAX_ENDED) -> None:
        """`max_jobs`: how many jobs may be unfinished at once. `max_ended`: how many ended jobs are remembered."""
        self._data = data
        self._max_jobs = max_jobs
        self._max_ended = max_ended
        self._kinds: dict[str, JobKind] = {}
        self._opened: JobStore | None = None
        self._lanes: dict[Lane, queue.Queue[tuple[JobKind, Task] | None]] = {
            lane: queue.Queue() for lane in get_args(Lane)
        }
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._submitting_once = threading.Lock()
        self._unfinished: dict[str, Task] = {}
        self._receiving: Counter[str] = Counter()
        self._running: set[str] = set()
        self._cancelled: set[str] = set()
        self._progress: dict[str, tuple[int, int | None]] = {}
        self._endings = Endings()
        self._stopping = threading.Event()
        self._log = logging.getLogger("askew.jobs")

    def register(self, kind: JobKind) -> None:
        """Add a kind of job. Called before `start`."""
        self._kinds[kind.name] = kind

    def start(self, *, works: bool = True) -> None:
        """Open the table of jobs, queue those that were unfinished, and start the lanes. Raises AskewError.

        `works`: False: the lanes are started by `work`.
        """
        store = JobStore(self._data, max_ended=self._max_ended)
        store.remove_orphans()
        for name, task in store.unfinished():
            kind = self._kinds.get(name)
            if kind is None:
                detail = f"This server has no jobs of kind {name!r}. Send the request again."
                store.end(task.id, "failed", problem=problem_of(ProblemKind.INTERNAL, detail, {}, None))
                continue
            self._unfinished[task.id] = task
            self._lanes[kind.lane].put((kind, task))
        self._opened = store
        if works:
            self.work()

    def work(self) -> None:
        """Start the lanes, which run the queued jobs."""
        for lane in self._lanes:
            thread = threading.Thread(target=self._work, args=(lane,), name=f"jobs-{lane}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop the running jobs, which continue at the next start, and close the table."""
        self.pause()
        if self._opened is not None:
            self._endings.record_again(self._opened)
            self._opened.close()

    def pause(self) -> None:
        """Stop the running jobs for good; they continue at the next start, if that server works."""
        self._stopping.set()
        if not any(thread.is_alive() for thread in self._threads):
            return
        for waiting in self._lanes.values():
            waiting.put(None)
        for thread in self._threads:
            thread.join()

    @contextmanager
    def spool(self, gallery: str) -> Iterator[Path]:
        """A folder for a job's input, to be passed to `submit`; removed at the end of the block if it was not.

        It takes no place in the queue, which `submit` does: senders that are slow would keep others out. Raises Refusal
        (overloaded) when there is no place now, or when MAX_RECEIVED inputs for this gallery are being received.
        """
        job_id = secrets.token_hex(8)
        with self._lock:
            self._require_place()
            if self._receiving[gallery] >= MAX_RECEIVED:
                raise Refusal(
                    ProblemKind.OVERLOADED,
                    f"{MAX_RECEIVED} uploads for jobs of gallery {gallery!r} are being received already. Try again in "
                    f"{RETRY_AFTER} seconds.",
                    retry_after=RETRY_AFTER,
                )
            self._receiving[gallery] += 1
        folder = self._store.folder / job_id
        try:
            folder.mkdir()
            yield folder
        finally:
            with self._lock:
                self._receiving[gallery] -= 1
                if not self._receiving[gallery]:
                    del self._receiving[gallery]
                submitted = job_id in self._unfinished
            # A submitted job removes its folder itself when it has ended, which may be by now.
            if not submitted:
                shutil.rmtree(folder, ignore_errors=True)

    def submit(self, kind: str, *, gallery: str, parameters: dict[str, JsonValue], folder: Path | None = None) -> Job:
        """Queue a job; it is on the disk when this returns. `folder`: the job's input, from `spool`.

        Raises Refusal (overloaded) when too many jobs are unfinished.
        """
        job_id = secrets.token_hex(8) if folder is None else folder.name
        task = Task(job_id, gallery, parameters, self._store.folder / job_id)
        with self._lock:
            self._require_place()
            self._unfinished[job_id] = task
        try:
            task.folder.mkdir(exist_ok=True)
            job = self._store.insert(task, kind)
        except BaseException:
            with self._lock:
                del self._unfinished[job_id]
            raise
        self._lanes[self._kinds[kind].lane].put((self._kinds[kind], task))
        return job

    def submit_once(
        self, kind: str, *, gallery: str, joins_running: bool, parameters: dict[str, JsonValue] | None = None
    ) -> Job:
        """The unfinished job of this kind for a gallery, with these parameters; submitted now if there is none.

        `parameters`: none if None. `joins_running`: whether one that runs already will do. One that waits has not looked at the gallery yet. Raises
        Refusal (overloaded).
        """
        states = {"waiting", "running"} if joins_running else {"waiting"}
        with self._submitting_once:
            for job in self.unfinished_of_kind(kind, gallery, parameters or {}):
                if job.state in states:
                    return job
            return self.submit(kind, gallery=gallery, parameters=parameters or {})

    def unfinished_of_kind(self, kind: str, gallery: str, parameters: dict[str, JsonValue] | None = None) -> list[Job]:
        """The unfinished jobs of a kind for a gallery, oldest first. `parameters`: those of these jobs; None: any."""
        ids = [
            task.id
            for each, task in self._store.unfinished()
            if (each, task.gallery) == (kind, gallery) and parameters in (None, task.parameters)
        ]
        found = [self._with_progress(job) for job in map(self._store.job, ids) if job is not None]
        return [job for job in found if job.state not in ENDED_STATES]

    def unfinished_tasks(self, kind: str) -> list[Task]:
        """The unfinished jobs of a kind, of all galleries, oldest first."""
        unfinished = self._store.unfinished()
        return [task for each, task in unfinished if each == kind and not self._endings.knows(task.id)]

    def job(self, job_id: str, seen: Collection[str] | None = None) -> Job:
        """One job as it is now. `seen`: only if all its galleries are among these; None: in any case.

        Raises Refusal (unknown-job), the same for a job that is not seen.
        """
        job = self._store.job(job_id, seen)
        if job is None:
            raise Refusal(
                ProblemKind.UNKNOWN_JOB,
                f"There is no job {job_id[:80]!r}. The last {self._max_ended:,} jobs that ended are remembered; "
                "GET /v1/jobs lists them.",
            )
        return self._with_progress(job)

    def newest(self, limit: int, gallery: str | None, seen: Collection[str] | None = None) -> list[Job]:
        """The newest jobs of one gallery, or of all, newest first and without their results. `seen`: as in `job`."""
        jobs = self._store.newest(limit, gallery, seen)
        return [self._with_progress(job).model_copy(update={"result": None}) for job in jobs]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once if it waits, within seconds if it runs. Raises Refusal (unknown-job, job-conflict)."""
        self.job(job_id)
        with self._lock:
            job = self.job(job_id)
            if job_id in self._unfinished and job.state not in ENDED_STATES:
                self._cancelled.add(job_id)
                is_waiting = job_id not in self._running
                if is_waiting:
                    # First: it waits still if that cannot be written.
                    self._store.end(job_id, "cancelled")
                    self._forget(job_id)
                return self.job(job_id)
        raise Refusal(
            ProblemKind.JOB_CONFLICT,
            f"Job {job_id} has already ended ({job.state}), so it cannot be cancelled.",
            {"state": job.state},
        )

    def unfinished_of(self, gallery: str) -> list[Task]:
        """The unfinished jobs that use a gallery."""
        with self._lock:
            return [task for task in self._unfinished.values() if gallery in task.galleries]

    def counts_by_kind(self) -> dict[tuple[str, ...], float]:
        """The number of remembered jobs of each kind in each state."""
        return self._endings.counted(self._store)

    def running(self) -> list[Job]:
        """The jobs that are running, with their progress."""
        with self._lock:
            ids = sorted(self._running)
        return [self._with_progress(job) for job in map(self._store.job, ids) if job is not None]

    @property
    def _store(self) -> JobStore:
        if self._opened is None:
            raise Refusal(ProblemKind.NOT_READY, "The jobs are being loaded. Try again in a second.", retry_after=1)
        return self._opened

    def _require_place(self) -> None:
        if len(self._unfinished) >= self._max_jobs:
            raise Refusal(
                ProblemKind.OVERLOADED,
                f"{self._max_jobs} jobs already wait or run. Try again in {RETRY_AFTER} seconds.",
                retry_after=RETRY_AFTER,
            )

    def _with_progress(self, job: Job) -> Job:
        job = self._endings.applied_to(job)
        known = self._progress.get(job.id)
        if known is None or job.state in ENDED_STATES:
            return job
        return job.model_copy(update={"done": known[0], "total": known[1]})

    def _forget(self, job_id: str) -> None:
        self._unfinished.pop(job_id, None)
        self._running.discard(job_id)
        self._cancelled.discard(job_id)
        self._progress.pop(job_id, None)

    def _work(self, lane: Lane) -> None:
        while (entry := self._next(lane)) is not None:
            kind, task = entry
            with self._lock:
                if self._stopping.is_set() or task.id not in self._unfinished:
                    continue
                self._running.add(task.id)
            try:
                self._run(kind, task)
            # Such as a table of jobs that cannot be read. The next job may succeed, and this one runs at the next start.
            except Exception:  # noqa: BLE001
                self._log.exception("job %s could not be recorded", task.id)
            finally:
                with self._lock:
                    self._forget(task.id)

    def _next(self, lane: Lane) -> tuple[JobKind, Task] | None:
        """The next job of a lane, once there is one; None at the end. How jobs ended is recorded meanwhile, if it was not."""
        while True:
            try:
                return self._lanes[lane].get(timeout=SECONDS_BETWEEN_RECORDS if self._endings.are_kept else None)
            except queue.Empty:
                self._endings.record_again(self._store)

    def _run(self, kind: JobKind, task: Task) -> None:
        written = time.monotonic()

        def report(done: int, total: int | None) -> None:
            nonlocal written
            self._progress[task.id] = (done, total)
            if time.monotonic() - written >= SECONDS_BETWEEN_WRITES:
                self._store.progress(task.id, done, total)
                self._endings.record_again(self._store)
                written = time.monotonic()

        def cancelled() -> bool:
            return self._stopping.is_set() or task.id in self._cancelled

        try:
            self._store.begin(task.id)
            kind.check_input(task)
            result = kind.run(task, report, cancelled)
        except JobStopped:
            if task.id in self._cancelled:
                self._end(task, Ending("cancelled"))
            else:
                self._record_progress(task)
                self._store.wait_again(task.id)
        except Exception as error:  # noqa: BLE001
            self._end(task, Ending("failed", problem=self._problem(task, error)))
        else:
            self._end(task, Ending("done", result=result))

    def _end(self, task: Task, ending: Ending) -> None:
        """Record how a job ended, or keep it in memory until the disk takes it: nobody waits for a job that has ended."""
        with suppress(DatabaseError):
            self._record_progress(task)
        self._endings.record(self._store, task.id, ending)

    def _record_progress(self, task: Task) -> None:
        if task.id in self._progress:
            self._store.progress(task.id, *self._progress[task.id])

    def _problem(self, task: Task, error: Exception) -> Problem:
        report = report_error(error, f"job {task.id}")
        if not report.is_foreseen:
            self._log.error("job %s failed", task.id, exc_info=error)
        return report.problem(None)
