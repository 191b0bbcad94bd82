"""Waiting for jobs."""

from __future__ import annotations

import pytest

from askew_client import Client
from askew_client.contract.jobs import Job
from askew_client.errors import JobFailed, JobUnfinished
from askew_client.transport.polling import FIRST_PAUSE, LONGEST_PAUSE, Waiting
from tests.support.scripted_server import ScriptedServer

JOB: dict[str, object] = {
    "id": "j1",
    "kind": "photos",
    "gallery": "demo",
    "state": "waiting",
    "created_at": "2026-01-01T00:00:00Z",
}


def test_wait_returns_the_job_that_is_done(server: ScriptedServer, client: Client) -> None:
    server.answer(JOB)
    server.answer({**JOB, "state": "running", "done": 1, "total": 2})
    server.answer({**JOB, "state": "done", "done": 2, "total": 2, "result": {"stored": 2}})
    seen: list[Job] = []
    done = client.wait(Job.model_validate(JOB), progress=seen.append)
    assert done.result == {"stored": 2}
    assert [each.state for each in seen] == ["waiting", "running", "done"]


def test_wait_raises_the_reason_of_a_failed_job(server: ScriptedServer, client: Client) -> None:
    problem = {
        "type": "/problems/damaged-snapshot",
        "title": "t",
        "status": 422,
        "detail": "The snapshot is truncated.",
    }
    server.answer({**JOB, "state": "failed", "problem": problem})
    with pytest.raises(JobFailed, match=r"^The snapshot is truncated\.$") as caught:
        client.wait("j1")
    assert caught.value.job.problem is not None
    assert caught.value.job.problem.slug == "damaged-snapshot"


def test_wait_raises_for_a_cancelled_job(server: ScriptedServer, client: Client) -> None:
    server.answer({**JOB, "state": "cancelled"})
    with pytest.raises(JobFailed, match=r"j1 \(photos\) was cancelled"):
        client.wait("j1")


def test_wait_gives_up_after_its_timeout(server: ScriptedServer, client: Client) -> None:
    server.answer({**JOB, "state": "running", "done": 3, "total": 9})
    with pytest.raises(JobUnfinished, match=r"running after 0\.2 s, 3 of 9 done") as caught:
        client.wait("j1", timeout=0.2)
    assert caught.value.job.done == 3


def test_a_job_is_looked_at_less_and_less_often() -> None:
    waiting = Waiting(timeout=None, progress=None)
    pauses = [waiting.pause() for _ in range(20)]
    assert pauses[:3] == pytest.approx([FIRST_PAUSE, 1.5 * FIRST_PAUSE, 2.25 * FIRST_PAUSE])
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_no_pause_is_longer_than_the_time_that_is_left() -> None:
    assert Waiting(timeout=0.01, progress=None).pause() <= 0.01
