"""Wire models of the offline pack: one file with a gallery as it may leave the server. docs/offline.md has its layout."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints

from askew_client.contract.common import RequestBody
from askew_client.contract.shown import ShortRepr
from askew_client.contract.snapshots import Sha256
from askew_client.contract.space import SpaceId

PACK_FORMAT: Literal[1] = 1
PACK_MAGIC = b"ASKEWPK1"
PACK_MEDIA_TYPE = "application/vnd.askew.pack"
PACK_HEAD_BYTES = 65_536
"""Magic, length of the header and header together have at most this many bytes: one range that a device reads first."""

MAX_FIELDS = 32

CodecKind = Literal["product", "int8"]
SectionName = Literal["codec", "labels", "codes", "scales", "row_lengths", "rows", "thumbnail_lengths", "thumbnails"]
SECTIONS: tuple[SectionName, ...] = ("codec", "labels", "codes", "scales", "row_lengths", "rows")
THUMBNAIL_SECTIONS: tuple[SectionName, ...] = ("thumbnail_lengths", "thumbnails")
"""They follow SECTIONS in a pack with thumbnails."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _checked_fields(fields: list[str]) -> list[str]:
    """Refuse a name twice, and names with characters that no one could see in a list."""
    for field in fields:
        if _CONTROL.search(field):
            raise ValueError(f"expected names without control characters, got {field!r}")
        if fields.count(field) > 1:
            raise ValueError(f"expected every field once, got {field!r} twice")
    return fields


FieldName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
FieldNames = Annotated[list[FieldName], Field(max_length=MAX_FIELDS), AfterValidator(_checked_fields)]


def _checked_thumbnails(size: int) -> int:
    if size and size < 32:
        raise ValueError("expected 0 (no thumbnails) or a size from 32 to 512 pixels")
    return size


ThumbnailSize = Annotated[int, Strict(), Field(ge=0, le=512), AfterValidator(_checked_thumbnails)]


class OfflinePackPolicy(RequestBody):
    """The JSON body of `PUT …/offline-pack`: what of a gallery may leave the server besides ids and coded vectors.

    `fields`: names of top-level payload members. `thumbnails`: the longest side in pixels, 0 for none. `bytes`: of one
    item's code; None: chosen by measurement. `refresh_minutes`: how old a pack of a changed gallery may be before a device
    that asks for it causes a new one; 0: a new one is made on request only.
    """

    fields: FieldNames
    thumbnails: ThumbnailSize = 0
    bytes: Annotated[int, Strict(), Field(ge=64, le=1024)] | None = None
    refresh_minutes: Annotated[int, Strict()] = Field(default=60, ge=0, le=525_600)


class PackCodec(BaseModel):
    """How vectors are coded. `bytes`: of one code. `id`: equal ids mean equal codes of equal vectors."""

    kind: CodecKind
    bytes: int = Field(ge=1, le=65_536)
    id: Sha256


class PackRecall(BaseModel):
    """How many of the true nearest `at` items the codes find, on average over `queries` items of the gallery.

    Each query is an item's stored vector; the item itself is left out of both answers.
    """

    at: int = Field(ge=1)
    value: float = Field(ge=0, le=1)
    queries: int = Field(ge=1)
    of: Literal["items"] = "items"


class PackSection(BaseModel):
    """One section of a pack: where it begins in the file, its bytes, and their digest."""

    name: SectionName
    offset: int = Field(ge=0)
    size: int = Field(ge=0)
    sha256: Sha256


class PackHeader(ShortRepr):
    """The header of a pack. `sequence`: the number of the gallery's last change that it covers."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = PACK_FORMAT
    gallery: str
    space: SpaceId
    dim: int = Field(ge=1, le=65_536)
    teacher: str
    sequence: int = Field(ge=0)
    created_at: str
    items: int = Field(ge=0)
    fields: FieldNames
    thumbnail_size: ThumbnailSize
    codec: PackCodec
    recall: PackRecall | None = None
    sections: list[PackSection]

    def section(self, name: SectionName) -> PackSection:
        """A section by name. Raises KeyError if this pack has none of that name."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)


class OfflinePackDescription(ShortRepr):
    """The pack that a server has of a gallery.

    `size` and `sha256`: of the file; `etag`: as the file's answers carry it. `thumbnails`: their longest side in pixels, 0
    for none. `gallery_sequence`: of the gallery now. `is_current`: whether the pack holds the gallery as it is now, by the
    policy that holds now. `building`: the unfinished job that makes the next pack. `policy`: what holds now; None from
    older servers.
    """

    gallery: str
    space: SpaceId
    sequence: int
    created_at: str
    items: int
    size: int
    sha256: Sha256
    etag: str
    fields: list[str]
    thumbnails: int
    codec: PackCodec
    recall: PackRecall | None = None
    gallery_sequence: int
    is_current: bool
    building: str | None = None
    policy: OfflinePackPolicy | None = None


class OfflinePackResult(BaseModel):
    """The result of an `offline-pack` job: the file that it made.

    `thumbnails`: how many items have one. `unreadable_photos`: how many have none because their photo cannot be read.
    `trained`: whether the codec is a new one, so that devices fetch the whole file.
    """

    sequence: int
    items: int
    size: int
    sha256: Sha256
    codec: PackCodec
    recall: PackRecall | None = None
    thumbnails: int
    unreadable_photos: int
    trained: bool
