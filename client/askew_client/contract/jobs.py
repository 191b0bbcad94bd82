"""Jobs as they travel: work that a server goes on with after it has answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from askew_client.contract.common import GalleryName
from askew_client.contract.problems import Problem

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED_STATES: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})


class Job(BaseModel):
    """A job. `done` of `total` units of work (photos, mostly) are behind it; `total` may be unknown.

    `result` says what a job that is done has made, `problem` why one has failed. Times are ISO 8601, in UTC.
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
    """Jobs, the newest first. Results are left out: ask for the job."""

    jobs: list[Job]


class RedescribeRequest(BaseModel):
    """The JSON body of `POST …/redescribe`: the gallery to fill, or only how much work that would be."""

    model_config = ConfigDict(extra="forbid")

    into: GalleryName
    estimate_only: bool = False


class RedescribeEstimate(BaseModel):
    """How much it takes to describe a gallery anew.

    `photos`: items to describe; `items_without_photo`: items that cannot be. `seconds`: measured on a few photos.
    `bytes`: disk that vectors, payloads and index will take; the photos' files are shared with the old gallery.
    """

    photos: int = Field(ge=0)
    items_without_photo: int = Field(ge=0)
    seconds: float = Field(ge=0)
    bytes: int = Field(ge=0)
