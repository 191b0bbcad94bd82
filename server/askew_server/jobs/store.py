"""The jobs in DATA/askew.db, and the folders with their input in DATA/jobs/ID."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel

from askew_client.contract.jobs import ENDED_STATES, Job, JobState
from askew_client.contract.problems import Problem
from askew_server.clock import utc_milliseconds
from askew_server.jobs.kind import OTHER_GALLERIES, Task
from askew_server.storage.server_database import open_server_database

MAX_ENDED = 1_000
"""How many jobs that have ended are remembered."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, gallery TEXT NOT NULL,
    parameters TEXT NOT NULL, state TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER, result TEXT, problem TEXT,
    created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state);
"""
_COLUMNS = "id, kind, gallery, state, done, total, result, problem, created_at, started_at, ended_at"

_IS_SEEN = " AND ".join(
    f"(?1 IS NULL OR {name} IS NULL OR {name} IN (SELECT value FROM json_each(?1)))"
    for name in ("gallery", *(f"json_extract(parameters, '$.{each}')" for each in OTHER_GALLERIES))
)
"""Whether all galleries of a job are among those of the first parameter, a JSON list; true if it is null."""


class JobStore:
    """Every job that is remembered. May be used from several threads. Methods raise DatabaseError."""

    def __init__(self, data: Path, *, max_ended: int = MAX_ENDED) -> None:
        """Open the table of jobs. `max_ended`: how many ended jobs are remembered.

        Raises AskewError when the database cannot be read.
        """
        self.folder = data / "jobs"
        self.folder.mkdir(exist_ok=True)
        self._max_ended = max_ended
        self._lock = threading.Lock()
        self._db = open_server_database(data, _SCHEMA)

    def close(self) -> None:
        """Close the database; what was written is on the disk already."""
        with self._lock:
            self._db.close()

    def insert(self, task: Task, kind: str) -> Job:
        """Add a job, which waits; on the disk when it returns."""
        values = (task.id, kind, task.gallery, json.dumps(task.parameters), "waiting", 0, utc_milliseconds())
        with self._lock, self._db.transaction():
            self._db.execute(
                "INSERT INTO jobs (id, kind, gallery, parameters, state, done, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        job = self.job(task.id)
        assert job is not None
        return job

    def job(self, job_id: str, seen: Collection[str] | None = None) -> Job | None:
        """One job by id; None if it is unknown. `seen`: only if all its galleries are among these; None: in any case."""
        rows = self._select(f"WHERE id = ?2 AND {_IS_SEEN}", (_listed(seen), job_id))
        return _job(rows[0]) if rows else None

    def newest(self, limit: int, gallery: str | None, seen: Collection[str] | None = None) -> list[Job]:
        """The newest jobs of one gallery, or of all, newest first. `seen`: as in `job`; they are taken from these."""
        clause = f"WHERE (?2 IS NULL OR gallery = ?2) AND {_IS_SEEN} ORDER BY number DESC LIMIT ?3"
        return [_job(row) for row in self._select(clause, (_listed(seen), gallery, limit))]

    def counts(self) -> dict[tuple[str, ...], float]:
        """The number of jobs of each kind in each state."""
        with self._lock:
            rows = self._db.rows("SELECT kind, state, COUNT(*) FROM jobs GROUP BY kind, state")
        return {(kind, state): float(count) for kind, state, count in rows}

    def unfinished(self) -> list[tuple[str, Task]]:
        """Kind and task of every job that waits or runs, oldest first."""
        with self._lock:
            rows = self._db.rows(
                "SELECT kind, id, gallery, parameters FROM jobs WHERE state IN ('waiting', 'running') ORDER BY number"
            )
        return [
            (kind, Task(job_id, gallery, json.loads(text), self.folder / job_id))
            for kind, job_id, gallery, text in rows
        ]

    def begin(self, job_id: str) -> None:
        """Record that a job runs, for the first time or again."""
        self._write("state = 'running', started_at = coalesce(started_at, ?)", (utc_milliseconds(),), job_id)

    def wait_again(self, job_id: str) -> None:
        """Record that a running job waits again, because the server stops."""
        self._write("state = 'waiting'", (), job_id)

    def progress(self, job_id: str, done: int, total: int | None) -> None:
        """Record a job's progress."""
        self._write("done = ?, total = ?", (done, total), job_id)

    def end(
        self,
        job_id: str,
        state: JobState,
        *,
        result: BaseModel | None = None,
        problem: Problem | None = None,
        at: str | None = None,
    ) -> None:
        """Record that a job has ended and remove its folder; the oldest ended jobs beyond `max_ended` are forgotten.

        `at`: when it ended, as utc_milliseconds; None: now.
        """
        assert state in ENDED_STATES
        result_text = None if result is None else json.dumps(result.model_dump(mode="json"))
        problem_text = None if problem is None else problem.model_dump_json()
        values = (state, result_text, problem_text, at or utc_milliseconds())
        # One transaction: nobody reads more than `max_ended` ended jobs.
        with self._lock, self._db.transaction():
            self._db.execute(
                "UPDATE jobs SET state = ?, result = ?, problem = ?, ended_at = ? WHERE id = ?", (*values, job_id)
            )
            self._db.execute(
                "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE state NOT IN ('waiting', 'running')"
                " ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (self._max_ended,),
            )
        shutil.rmtree(self.folder / job_id, ignore_errors=True)

    def remove_orphans(self) -> None:
        """Remove the folders of jobs that were never submitted, or have ended."""
        known = {task.id for _, task in self.unfinished()}
        for folder in self.folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def _select(self, clause: str, parameters: Sequence[object]) -> list[tuple[object, ...]]:
        with self._lock:
            return self._db.rows(f"SELECT {_COLUMNS} FROM jobs {clause}", tuple(parameters))

    def _write(self, assignments: str, parameters: tuple[object, ...], job_id: str) -> None:
        with self._lock, self._db.transaction():
            self._db.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*parameters, job_id))


def _listed(names: Collection[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))


def _job(row: tuple[object, ...]) -> Job:
    members: dict[str, object] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("result", "problem"):
        text = members[name]
        members[name] = json.loads(text) if isinstance(text, str) else None
    return Job.model_validate(members)
