"""Wire models of aliases: second names of galleries, which can be moved to another gallery atomically."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from askew_client.contract.common import GalleryName
from askew_client.contract.shown import ShortRepr


class AliasList(ShortRepr):
    """All aliases, and the gallery that each one names."""

    aliases: dict[str, str]


class SetAliasRequest(BaseModel):
    """The JSON body of `PUT /v1/aliases/{alias}`."""

    model_config = ConfigDict(extra="forbid")

    gallery: GalleryName


class AliasAnswer(BaseModel):
    """The gallery that an alias names now, and the one before (`previous`, absent for a new alias)."""

    alias: str
    gallery: str
    previous: str | None = None


class Deleted(BaseModel):
    """The name of the alias or gallery that was deleted."""

    deleted: str
