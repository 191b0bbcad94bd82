"""The jobs in DATA/askew.db, and the folders with their input in DATA/jobs/ID."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from askew_client.contract.jobs import ENDED_STATES, Job, JobState
from askew_client.contract.problems import Problem
from askew_server.jobs.kind import Result, Task
from askew_server.storage.server_database import open_server_database

KEPT = 1_000
"""How many ended jobs are remembered."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, gallery TEXT NOT NULL,
    parameters TEXT NOT NULL, state TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER, result TEXT, problem TEXT,
    created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state);
"""
_COLUMNS = "id, kind, gallery, state, done, total, result, problem, created_at, started_at, ended_at"


class JobStore:
    """Every job that is not forgotten. May be used from several threads."""

    def __init__(self, data: Path) -> None:
        """Open the table of jobs. Raises AskewError when the database cannot be read."""
        self.folder = data / "jobs"
        self.folder.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._db = open_server_database(data, _SCHEMA)

    def close(self) -> None:
        """Close the database; what was written is on the disk already."""
        with self._lock:
            self._db.close()

    def insert(self, task: Task, kind: str) -> Job:
        """Keep a new job, waiting; on the disk when it returns."""
        values = (task.id, kind, task.gallery, json.dumps(task.parameters), "waiting", 0, _now())
        with self._lock:
            self._db.execute(
                "INSERT INTO jobs (id, kind, gallery, parameters, state, done, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        return self._required(task.id)

    def job(self, job_id: str) -> Job | None:
        """One job by id."""
        rows = self._select("WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def newest(self, limit: int, gallery: str | None) -> list[Job]:
        """The newest jobs, of one gallery or of all, the newest first."""
        return [
            _job(row)
            for row in self._select("WHERE ?1 IS NULL OR gallery = ?1 ORDER BY number DESC LIMIT ?2", (gallery, limit))
        ]

    def counts(self) -> dict[tuple[str, ...], float]:
        """How many jobs there are of each kind in each state."""
        with self._lock:
            rows = self._db.rows("SELECT kind, state, COUNT(*) FROM jobs GROUP BY kind, state")
        return {(kind, state): float(count) for kind, state, count in rows}

    def unfinished(self) -> list[tuple[str, Task]]:
        """Kind and task of every job that waits or runs, the oldest first."""
        with self._lock:
            rows = self._db.rows(
                "SELECT kind, id, gallery, parameters FROM jobs WHERE state IN ('waiting', 'running') ORDER BY number"
            )
        return [
            (kind, Task(job_id, gallery, json.loads(text), self.folder / job_id))
            for kind, job_id, gallery, text in rows
        ]

    def begin(self, job_id: str) -> None:
        """A job runs, for the first time or again."""
        self._write("state = 'running', started_at = coalesce(started_at, ?)", (_now(),), job_id)

    def wait_again(self, job_id: str) -> None:
        """A job that ran goes back to waiting, because the server stops."""
        self._write("state = 'waiting'", (), job_id)

    def progress(self, job_id: str, done: int, total: int | None) -> None:
        """How far a job is."""
        self._write("done = ?, total = ?", (done, total), job_id)

    def end(self, job_id: str, state: JobState, result: Result | None = None, problem: Problem | None = None) -> None:
        """A job has ended: its folder goes, and the oldest ended jobs beyond the last 1,000 are forgotten."""
        assert state in ENDED_STATES
        texts = (None if result is None else json.dumps(result), None if problem is None else problem.model_dump_json())
        self._write("state = ?, result = ?, problem = ?, ended_at = ?", (state, *texts, _now()), job_id)
        with self._lock:
            self._db.execute(
                "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE state NOT IN ('waiting', 'running')"
                " ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (KEPT,),
            )
        shutil.rmtree(self.folder / job_id, ignore_errors=True)

    def remove_strays(self) -> None:
        """Remove the folders of jobs that were never submitted, or have ended."""
        known = {task.id for _, task in self.unfinished()}
        for folder in self.folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def _required(self, job_id: str) -> Job:
        job = self.job(job_id)
        assert job is not None
        return job

    def _select(self, clause: str, parameters: Sequence[object]) -> list[tuple[object, ...]]:
        with self._lock:
            return self._db.rows(f"SELECT {_COLUMNS} FROM jobs {clause}", tuple(parameters))

    def _write(self, assignments: str, parameters: tuple[object, ...], job_id: str) -> None:
        with self._lock:
            self._db.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*parameters, job_id))


def _job(row: tuple[object, ...]) -> Job:
    members: dict[str, object] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("result", "problem"):
        text = members[name]
        members[name] = json.loads(text) if isinstance(text, str) else None
    return Job.model_validate(members)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
