"""Waiting for jobs of a running server."""

from __future__ import annotations

import time
from typing import Any

import httpx

from askew_client.contract.jobs import ENDED_STATES

DEADLINE = 120.0


def wait_for_job(http: httpx.Client, job_id: str, seconds: float = DEADLINE) -> dict[str, Any]:
    """The job, once it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        job: dict[str, Any] = http.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in ENDED_STATES:
            return job
        assert time.monotonic() < deadline, f"the job did not end: {job}"
        time.sleep(0.02)


def wait_for_accepted(http: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The job that a request was accepted as, once it has ended."""
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    assert answer.url.join(answer.headers["location"]).path == f"/v1/jobs/{job_id}"
    return wait_for_job(http, job_id)


def result_of(http: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The result of the job that a request was accepted as."""
    job = wait_for_accepted(http, answer)
    assert job["state"] == "done", job.get("problem")
    result: dict[str, Any] = job["result"]
    return result
