"""Wire models of a server's health and version, which need no key, and of what it is among its replicas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

Role = Literal["primary", "replica", "superseded"]
"""`superseded`: it was the primary, and has learned that another server took its place."""

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$", max_length=500)]
"""Of a server, with its scheme."""


class Readiness(BaseModel):
    """A server that is ready to answer searches. `quarantined`: galleries that are closed because they are damaged.

    Both counts are absent on a server that has keys.
    `staleness_seconds`: on a read replica: how long ago it had everything that its primary had.
    `warnings`: sentences about what is probably a mistake in how the server was started. They name no gallery.
    """

    status: Literal["ok"]
    version: str
    galleries: int | None = None
    quarantined: int | None = None
    warnings: list[str] = []
    staleness_seconds: float | None = None


class Version(BaseModel):
    """The server's name and version, and the version of its API (`v1` in its paths)."""

    name: Literal["askew"]
    version: str
    api: Literal["v1"]


class Health(BaseModel):
    """The state of the server's process, ready or not."""

    status: Literal["ok", "loading", "draining"]
    version: str


class ReplicatedGallery(BaseModel):
    """One gallery of a replica. `sequence`: of its last change here. `behind`: changes that the primary has and this
    replica has not, when it last asked; absent before that. `trouble`: a sentence if it does not follow.
    """

    name: str
    sequence: int
    behind: int | None = None
    trouble: str | None = None


class ReplicationStatus(BaseModel):
    """What a server is among its replicas.

    `epoch`: 1, and one more with each promotion. `primary`: the address that a replica follows, or of the server that
    superseded this one, if that is known. `staleness_seconds`: how long ago a replica had everything that its primary
    had; absent until it had it once. `trouble`: a sentence if it does not follow.
    """

    role: Role
    epoch: int
    primary: str | None = None
    staleness_seconds: float | None = None
    trouble: str | None = None
    galleries: list[ReplicatedGallery] = Field(default_factory=list)


class PromoteRequest(BaseModel):
    """The JSON body of `POST /v1/replication/promote`.

    `accept_loss`: also if changes of the primary are known to be missing here. `address`: of this server, which the old
    primary then names to those who send it changes.
    """

    model_config = ConfigDict(extra="forbid")

    accept_loss: Annotated[bool, Strict()] = False
    address: Address | None = None


class Promotion(BaseModel):
    """A server that has become the primary. `superseded`: the address of the one before.

    `is_fenced`: whether that one refuses changes by now, and everything that it acknowledged is here; if not, it is told
    again until it does. `staleness_seconds`: how long ago this server had everything that the other one had.
    """

    epoch: int
    superseded: str | None = None
    is_fenced: bool = False
    staleness_seconds: float | None = None
