"""Wire models of galleries, and of aliases: second names of galleries, which can be moved to another one atomically."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from askew_client.contract.common import GalleryName, RequestBody
from askew_client.contract.manifest import Manifest
from askew_client.contract.shown import Listed, ShortRepr
from askew_client.contract.space import SpaceId


class CreateGalleryRequest(RequestBody):
    """The JSON body of `PUT /v1/galleries/{gallery}`: the teacher's manifest, without its encoder file."""

    teacher: Manifest


class GalleryDescription(ShortRepr, BaseModel):
    """A gallery: its space, its size, and the teacher, photo size and scales that describe its items.

    `offline_pack`: whether devices may keep an offline pack of it.
    """

    name: str
    space: SpaceId
    dim: int
    items: int
    photos: int
    sequence: int
    index: str
    exact: bool
    teacher: str
    photo_size: int
    scales: list[float]
    describes_photos: bool
    admitted_encoders: list[str]
    aliases: list[str] = []
    offline_pack: bool = False


class DamagedGallery(BaseModel):
    """A gallery that cannot be opened, and why. Its paths answer `damaged-gallery`; other galleries work."""

    name: str
    reason: str


class GalleryList(Listed[GalleryDescription], BaseModel):
    """All galleries of a server that the key may see, by name. `default_gallery` may be an alias; it is absent if the key
    may not see it.
    """

    galleries: list[GalleryDescription]
    default_gallery: str | None = None
    damaged: list[DamagedGallery] = []

    def _entries(self) -> list[GalleryDescription]:
        return self.galleries


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
