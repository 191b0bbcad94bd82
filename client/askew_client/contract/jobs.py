"""Wire models of jobs: work that a server continues after it has answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from askew_client.contract.common import GalleryName
from askew_client.contract.problems import Problem

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED_STATES: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})


class Job(BaseModel):
    """A job. `done` of `total` units of work (usually photos) are finished; `total` may be unknown.

    `result`: of a job that is done. `problem`: why a job failed. Times are ISO 8601, in UTC.
    """

    id: str
    kind: str
    gallery: str
    state: JobState
    done: int = 0
    total: int | None = None
    result: dict[str, JsonValue] | None = None
    problem: Problem | None = None
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None


class JobList(BaseModel):
    """Jobs, newest first, without their results: ask for a single job to see its result."""

    jobs: list[Job]


class RedescribeRequest(BaseModel):
    """The JSON body of `POST …/redescribe`: the gallery to fill. `estimate_only`: only estimate the work."""

    model_config = ConfigDict(extra="forbid")

    into: GalleryName
    estimate_only: bool = False


class RedescribeEstimate(BaseModel):
    """The estimated cost of re-describing a gallery.

    `photos`: items to describe; `items_without_photo`: items that cannot be described. `seconds`: extrapolated from a
    few photos. `bytes`: disk space for vectors, payloads and index; the photos' files are shared with the old gallery.
    """

    photos: int = Field(ge=0)
    items_without_photo: int = Field(ge=0)
    seconds: float = Field(ge=0)
    bytes: int = Field(ge=0)
