"""Wire models of jobs: work that a server continues after it has answered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, Strict

from askew_client.contract.common import GalleryName
from askew_client.contract.indexes import IndexKind
from askew_client.contract.offline_pack import OfflinePackResult
from askew_client.contract.problems import Problem
from askew_client.contract.shown import Listed, ShortRepr
from askew_client.contract.snapshots import Snapshot

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED_STATES: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})


class Job(ShortRepr):
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


class JobList(Listed[Job]):
    """Jobs, newest first, without their results: ask for a single job to see its result."""

    jobs: list[Job]

    def _entries(self) -> list[Job]:
        return self.jobs


class RedescribeRequest(BaseModel):
    """The JSON body of `POST …/redescribe`: the gallery to fill. `estimate_only`: only estimate the work."""

    model_config = ConfigDict(extra="forbid")

    into: GalleryName
    estimate_only: Annotated[bool, Strict()] = False


class RedescribeEstimate(BaseModel):
    """The estimated cost of re-describing a gallery.

    `photos`: items to describe; `items_without_photo`: items that cannot be described. `seconds`: extrapolated from a
    few photos. `bytes`: disk space for vectors, payloads and index; the photos' files are shared with the old gallery.
    """

    photos: int = Field(ge=0)
    items_without_photo: int = Field(ge=0)
    seconds: float = Field(ge=0)
    bytes: int = Field(ge=0)


class PhotosResult(ShortRepr):
    """The result of a `photos` job: how many photos were described, known already, and refused.

    `reasons`: why, by item id, of up to 1,000 refused photos.
    """

    described: int
    known: int
    refused: int
    reasons: dict[str, str]


class RedescribeVerification(ShortRepr):
    """What a `redescribe` job found when it checked the gallery that it filled.

    `items` of `expected` are there; `find_themselves` of `searched` items are found first by their own vectors.
    `lowest_cosine`: between stored vectors and those of `described_again` photos described once more; None for 0 photos.
    """

    items: int
    expected: int
    find_themselves: int
    searched: int
    described_again: int
    lowest_cosine: float | None


class RedescribeResult(ShortRepr):
    """The result of a `redescribe` job: what it described and deleted in the gallery that it filled.

    `items_without_photo`: items of the old gallery that could not be described. `reasons`: why, by item id, of up to
    1,000 of the `refused` photos.
    """

    described: int
    deleted: int
    items_without_photo: int
    refused: int
    reasons: dict[str, str]
    verification: RedescribeVerification


class ChangeTeacherRequest(BaseModel):
    """The JSON body of `POST /v1/aliases/{alias}/change-teacher`: the gallery of the new teacher, `to`.

    `accept_loss`: also if items cannot be described, which the new gallery then lacks. `hold_seconds`: how long the old
    gallery may refuse changes at the end. `switch`: false: describe and verify, but leave the alias as it is.
    `estimate_only`: only estimate the work.
    """

    model_config = ConfigDict(extra="forbid")

    to: GalleryName
    accept_loss: Annotated[bool, Strict()] = False
    hold_seconds: Annotated[int, Strict(), Field(ge=1, le=60)] = 10
    switch: Annotated[bool, Strict()] = True
    estimate_only: Annotated[bool, Strict()] = False


class ChangeTeacherEstimate(RedescribeEstimate):
    """The estimated cost of a change of teacher, and who is concerned.

    `gallery`: the one that the alias names; `to`: the one that it will name. `admitted_encoders`: of `to`, its teacher
    included. `encoders_left_behind`: students that only the old gallery has admitted; their queries get 409 afterwards.
    `other_aliases`: further names of the old gallery, which are not switched.
    """

    alias: str
    gallery: str
    to: str
    admitted_encoders: list[str]
    encoders_left_behind: list[str]
    other_aliases: list[str]


class ChangeTeacherResult(RedescribeResult):
    """The result of a `change-teacher` job: that of a `redescribe` job, and the switch.

    `gallery`: the old one, which is kept. `to`: the one that the alias names now, if `is_switched`. `held_seconds`: how
    long the old gallery refused changes.
    """

    alias: str
    gallery: str
    to: str
    is_switched: bool
    held_seconds: float
    admitted_encoders: list[str]


class RestoreResult(ShortRepr):
    """The result of a `restore` job: the gallery that it made. `created_at`: when the snapshot was made."""

    gallery: str
    items: int
    photos: int
    space: str
    created_at: str


class RebuildResult(BaseModel):
    """The result of a `rebuild-index` job: the new index, in the terms of IndexDescription."""

    kind: IndexKind
    exact: bool
    vectors: int
    main: int
    tail: int
    removed: int
    bytes_memory: int
    bytes_mapped: int
    k_factor: float | None
    recall_at_10: float | None
    generation: int
    state: Literal["ready", "unverified", "damaged"]


RESULT_MODELS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "change-teacher": ChangeTeacherResult,
        "offline-pack": OfflinePackResult,
        "photos": PhotosResult,
        "rebuild-index": RebuildResult,
        "redescribe": RedescribeResult,
        "restore": RestoreResult,
        "snapshot": Snapshot,
        "verify-snapshot": Snapshot,
    }
)
"""The model of `Job.result`, by `Job.kind`."""
