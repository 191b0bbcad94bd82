"""Wire models of snapshots, and the manifest inside a snapshot file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from askew_client.contract.common import GalleryName
from askew_client.contract.shown import Listed, ShortRepr
from askew_client.contract.space import SpaceId

SNAPSHOT_FORMAT: Literal[1] = 1

SnapshotName = Annotated[str, StringConstraints(pattern=r"^[0-9]{8}T[0-9]{6}Z(-[0-9]{1,4})?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Snapshot(BaseModel):
    """A snapshot of a gallery: one tar file. `bytes` and `sha256`: of the file. `created_at`: in UTC."""

    name: SnapshotName
    gallery: str
    created_at: str
    items: int = Field(ge=0)
    photos: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: Sha256
    space: SpaceId


class SnapshotList(Listed[Snapshot]):
    """The snapshots of a gallery, newest first."""

    snapshots: list[Snapshot]

    def _entries(self) -> list[Snapshot]:
        return self.snapshots


class RestoreRequest(BaseModel):
    """The JSON body of `POST …/restore`: the gallery that the snapshot belongs to, and the snapshot's name."""

    model_config = ConfigDict(extra="forbid")

    gallery: GalleryName
    snapshot: SnapshotName


class SnapshotMember(BaseModel):
    """One file of a snapshot, with its length and digest."""

    path: str = Field(max_length=200)
    bytes: int = Field(ge=0)
    sha256: Sha256


class SnapshotManifest(ShortRepr):
    """`manifest.json`, the first member of a snapshot file: the state of the gallery, and every file that follows."""

    format: Literal[1] = SNAPSHOT_FORMAT
    gallery: str
    created_at: str
    askew: str
    space: SpaceId
    dim: int = Field(ge=1, le=65_536)
    teacher: str
    items: int = Field(ge=0)
    photos: int = Field(ge=0)
    sequence: int = Field(ge=0)
    members: list[SnapshotMember]

    @model_validator(mode="after")
    def _each_member_once(self) -> SnapshotManifest:
        if len({member.path for member in self.members}) != len(self.members):
            raise ValueError("expected every member once, got one twice")
        return self


class DeletedSnapshot(BaseModel):
    """The name of the snapshot that was deleted."""

    deleted: SnapshotName
