"""Calls about jobs."""

from __future__ import annotations

from askew_client.calls.call import Call, query_parameters, segment
from askew_client.contract.jobs import Job, JobList


def jobs(*, gallery: str | None, limit: int) -> Call[JobList]:
    """The newest jobs."""
    return Call("GET", "/v1/jobs", JobList, params=query_parameters({"gallery": gallery, "limit": limit}))


def job(job_id: str) -> Call[Job]:
    """One job."""
    return Call("GET", _path(job_id), Job)


def cancel_job(job_id: str) -> Call[Job]:
    """Cancel a job."""
    return Call("POST", f"{_path(job_id)}/cancel", Job)


def _path(job_id: str) -> str:
    return f"/v1/jobs/{segment(job_id)}"
