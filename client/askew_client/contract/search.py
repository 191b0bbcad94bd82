"""Requests and answers as they travel, the same models in the server and in the client."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from askew_client.contract.encoders import AdmissionReport as AdmissionReport
from askew_client.contract.encoders import EncoderDescription as EncoderDescription
from askew_client.contract.encoders import EncoderList as EncoderList
from askew_client.contract.encoders import ScoreDistribution as ScoreDistribution
from askew_client.contract.filters import FieldPath, Filter, Scalar
from askew_client.contract.manifest import Manifest
from askew_client.contract.space import SpaceId

MAX_LIMIT = 1_000
MAX_BATCH = 1_000
MAX_EXCLUDED = 100
MAX_GROUP_SIZE = 100
MAX_DELETED = 10_000
MAX_RAW_BATCH = 10_000
MAX_PAYLOAD_LEVELS = 32

GalleryName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
ItemId = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,512}$")]


def _readable_again(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse what could be stored and not be read back as JSON inside an answer."""
    level: list[dict[str, JsonValue] | list[JsonValue]] = [payload]
    for _ in range(MAX_PAYLOAD_LEVELS):
        below: list[dict[str, JsonValue] | list[JsonValue]] = []
        for value in level:
            for child in value.values() if isinstance(value, dict) else value:
                if isinstance(child, float) and not math.isfinite(child):
                    raise ValueError("numbers must be finite; JSON has no NaN and no infinity")
                if isinstance(child, dict | list):
                    below.append(child)
        if not below:
            return payload
        level = below
    raise ValueError(f"a payload nests {MAX_PAYLOAD_LEVELS} levels deep at most")


Payload = Annotated[dict[str, JsonValue], AfterValidator(_readable_again)]
Vector = str | Annotated[list[float], Field(fail_fast=True)]
"""base64 text of the raw vector, with its dtype beside it, or a list of numbers."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SearchOptions(_Request):
    """How to search, whatever form the query has.

    `limit`: how many hits at most. `score_threshold`: leave out hits below this score, in [-1, 1].
    `max_false_match`: leave out hits below the score that, by the admission report of `encoder`, this share of
    queries without a match would still reach; in (0, 1). One of the two at most. `filter`: a condition on payloads.
    `exclude`: ids that are no hits. `with_payload`: whether hits carry their payload, or which fields of it.
    `with_vectors`: whether they carry the stored vector. `group_by`: a payload field; of each of its values at most
    `group_size` hits, of at most `limit` values; items without the field are left out. `exact`: the true nearest,
    whatever the index.
    """

    limit: int = Field(default=10, ge=1, le=MAX_LIMIT)
    score_threshold: float | None = Field(default=None, ge=-1, le=1)
    max_false_match: float | None = Field(default=None, gt=0, lt=1)
    filter: Filter | None = None
    exclude: list[ItemId] = Field(default=[], max_length=MAX_EXCLUDED, fail_fast=True)
    with_payload: bool | Annotated[list[FieldPath], Field(fail_fast=True)] = Field(
        default=True, union_mode="left_to_right"
    )
    with_vectors: bool = False
    group_by: FieldPath | None = None
    group_size: int = Field(default=1, ge=1, le=MAX_GROUP_SIZE)
    exact: bool = False

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.score_threshold is not None and self.max_false_match is not None:
            raise ValueError("give score_threshold or max_false_match, not both")
        return self


class Query(_Request):
    """One query vector and where it comes from: its space, and the encoder (`name@version`) that made it."""

    vector: Vector
    dtype: str | None = None
    space: SpaceId | None = None
    encoder: str | None = Field(default=None, max_length=140)


class SearchRequest(Query, SearchOptions):
    """The JSON body of `POST /search`."""


class BatchSearchRequest(SearchOptions):
    """The JSON body of `POST …/search/batch`: many queries, one set of options."""

    queries: list[Query] = Field(min_length=1, max_length=MAX_BATCH, fail_fast=True)


class Hit(BaseModel):
    """An item found. `score`: the inner product of unit vectors, in [-1, 1], higher is better.

    `payload`, `vector` (base64 of f16le) and `group` (the value of `group_by`) where they were asked for.
    """

    id: str
    score: float
    payload: Payload = Field(default_factory=dict)
    vector: str | None = None
    dtype: Literal["f16le"] | None = None
    group: Scalar | None = None


class SearchAnswer(BaseModel):
    """The answer to one query: hits by falling score, equal scores by id."""

    hits: list[Hit]
    space: SpaceId
    gallery: str
    encoder: str | None = None
    index: str
    exact: bool


class BatchHits(BaseModel):
    """The hits of one query of a batch."""

    hits: list[Hit]


class BatchSearchAnswer(BaseModel):
    """The answer to a batch, in the order of its queries."""

    results: list[BatchHits]
    space: SpaceId
    gallery: str
    index: str
    exact: bool


class ItemToStore(_Request):
    """One item to insert or replace."""

    id: ItemId
    vector: Vector
    dtype: str | None = None
    payload: Payload = Field(default_factory=dict)


class UpsertRequest(_Request):
    """The JSON body of `PUT …/items`: items described by the gallery's teacher, in the gallery's space."""

    space: SpaceId | None = None
    items: list[ItemToStore] = Field(min_length=1, max_length=MAX_BATCH, fail_fast=True)


class UpsertAnswer(BaseModel):
    """How many items were inserted or replaced, and the gallery's sequence number after that."""

    upserted: int
    sequence: int


class RawItem(_Request):
    """One item in the header of a raw upsert; its vector lies in the body, in the order of the items."""

    id: ItemId
    payload: Payload = Field(default_factory=dict)


class RawUpsertHeader(_Request):
    """The JSON header of a body of `application/vnd.askew.items`: what the raw values behind it are.

    The body: the header's length as uint32, little-endian; the header; then the vectors, item after item.
    """

    space: SpaceId | None = None
    dtype: str | None = None
    items: list[RawItem] = Field(min_length=1, max_length=MAX_RAW_BATCH, fail_fast=True)


class DeleteItemsRequest(_Request):
    """The JSON body of `POST …/items/delete`: `ids`, or a `filter` that all go which meet it; one of the two."""

    ids: list[ItemId] | None = Field(default=None, min_length=1, max_length=MAX_DELETED, fail_fast=True)
    filter: Filter | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give ids or filter, one of the two")
        return self


class DeleteItemsAnswer(BaseModel):
    """How many items were deleted, and the gallery's sequence number after that."""

    deleted: int
    sequence: int


class DeleteAnswer(BaseModel):
    """The id that was deleted, and the gallery's sequence number after that."""

    deleted: str
    sequence: int


class Item(BaseModel):
    """An item as it is read back; `vector` (base64 of f16le) where it was asked for."""

    id: str
    payload: Payload
    has_photo: bool
    photo_sha256: str | None = None
    vector: str | None = None
    dtype: Literal["f16le"] | None = None


class ItemPage(BaseModel):
    """One page of a listing in the order of ids; `next_cursor` is absent from the last one."""

    items: list[Item]
    next_cursor: str | None = None


class CreateGalleryRequest(_Request):
    """The JSON body of `PUT /v1/galleries/{gallery}`: the manifest of the teacher that describes it elsewhere."""

    teacher: Manifest


class GalleryDescription(BaseModel):
    """A gallery: its space, its size, and the teacher, photo size and scales that its items are described with."""

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


class DamagedGallery(BaseModel):
    """A gallery that cannot be opened, and why; its paths answer `damaged-gallery`, the others serve."""

    name: str
    reason: str


class GalleryList(BaseModel):
    """All galleries of a server, by name; `default_gallery` may be an alias."""

    galleries: list[GalleryDescription]
    default_gallery: str
    damaged: list[DamagedGallery] = []


class Health(BaseModel):
    """Whether the server lives, or is ready to answer."""

    status: Literal["ok", "loading", "draining"]
    version: str
