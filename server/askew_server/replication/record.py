"""What DATA remembers of its replication: whose history it holds, which role it has, and whether it was superseded.

An epoch begins when a server becomes the primary. Its number tells which of two servers is the later primary; its token
tells two servers apart that were both promoted. With each epoch stands where every gallery was when it began, so that
a server that comes back knows whether it acknowledged changes that the new primary never had.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from askew_client.errors import AskewError
from askew_server.storage.data_record import Record, RecordFile

NAME = "replication.json"


class GalleryMark(BaseModel):
    """Where a gallery was. `sequence`: of its last change. `beside`: the digest of its encoders and probes."""

    model_config = ConfigDict(frozen=True)

    sequence: int
    beside: str


class Epoch(BaseModel):
    """The time of one primary. `starts`: where each gallery was when it began, by key (see `gallery_key`)."""

    model_config = ConfigDict(frozen=True)

    number: int
    token: str
    starts: dict[str, GalleryMark] = Field(default_factory=dict)


class Fence(BaseModel):
    """That another server has become the primary. `primary`: its address, if it is known."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=0, lt=1 << 63)
    token: str
    primary: str | None = None


class ReplicationRecord(Record):
    """`lineage`: the history that DATA holds, the same on a primary and its replicas. `epochs`: oldest first.

    `follows`: the primary that a replica follows, or that this primary was promoted over. `fence`: who superseded this
    primary. `proposed`: the epoch of a promotion that has begun. `unfenced`: the address that has not learned of this
    primary yet. `diverged`: a sentence about each gallery that holds what its primary never had, by key.
    """

    lineage: str
    role: Literal["primary", "replica"] = "primary"
    epochs: list[Epoch]
    follows: str | None = None
    fence: Fence | None = None
    proposed: Fence | None = None
    unfenced: str | None = None
    diverged: dict[str, str] = Field(default_factory=dict)

    @property
    def epoch(self) -> Epoch:
        """The newest epoch."""
        return self.epochs[-1]


def first_record() -> ReplicationRecord:
    """The record of a server that never replicated: a primary in its first epoch."""
    return ReplicationRecord(lineage=secrets.token_hex(16), epochs=[Epoch(number=1, token=secrets.token_hex(8))])


def replication_record(data: Path) -> RecordFile[ReplicationRecord]:
    """The record of DATA. Reading it raises AskewError if there is one and neither of its copies can be read."""

    def unreadable() -> NoReturn:
        raise AskewError(
            f"Expected to read {data / 'record' / NAME} or its copy {data / 'galleries' / '.record' / NAME}, which say "
            "whether this server is a primary, a replica, or superseded; both are damaged. Put back a copy of one. Remove "
            "both only if DATA was never replicated: a superseded primary would take changes again."
        )

    return RecordFile(data, NAME, ReplicationRecord, unreadable)


def gallery_key(name: str, created_at: str | None) -> str:
    """What tells a gallery from every other one, also from one of the same name that took its place."""
    return f"{name}@{created_at or 'unknown'}"
