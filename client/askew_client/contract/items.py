"""Wire models of items: storing, reading, listing, counting, deleting."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from askew_client.contract.common import MAX_BATCH, ItemId, Payload, RequestBody, Vector
from askew_client.contract.filters.conditions import Filter
from askew_client.contract.filters.field_paths import UnknownFields
from askew_client.contract.shown import Listed, ShortRepr
from askew_client.contract.space import SpaceId

MAX_DELETED = 10_000
MAX_RAW_BATCH = 10_000


class ItemToStore(RequestBody):
    """One item to insert or replace."""

    id: ItemId
    vector: Vector
    dtype: str | None = None
    payload: Payload = Field(default_factory=dict)


class UpsertRequest(RequestBody):
    """The JSON body of `PUT …/items`: items with vectors of the gallery's teacher, in the gallery's space."""

    space: SpaceId | None = None
    items: list[ItemToStore] = Field(min_length=1, max_length=MAX_BATCH, fail_fast=True)


class UpsertAnswer(BaseModel):
    """The number of items that were inserted or replaced, and the gallery's sequence number after that."""

    upserted: int
    sequence: int


class RawItem(RequestBody):
    """One item in the header of a raw upsert. The vectors follow the header, in the order of the items."""

    id: ItemId
    payload: Payload = Field(default_factory=dict)


class RawUpsertHeader(RequestBody):
    """The JSON header of a body of `application/vnd.askew.items`, which describes the raw vectors after it.

    The body: the header's length as uint32, little-endian; the header; the vectors, item after item.
    """

    space: SpaceId | None = None
    dtype: str | None = None
    items: list[RawItem] = Field(min_length=1, max_length=MAX_RAW_BATCH, fail_fast=True)


class DeleteItemsRequest(RequestBody):
    """The JSON body of `POST …/items/delete`: either `ids`, or a `filter` for the items to delete."""

    ids: list[ItemId] | None = Field(default=None, min_length=1, max_length=MAX_DELETED, fail_fast=True)
    filter: Filter | None = None

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("expected either ids or filter")
        return self


class DeleteItemsAnswer(BaseModel):
    """The number of items that were deleted, and the gallery's sequence number after that.

    `unknown_fields`: those of the filter's fields that no item of the gallery had. `unknown_ids`: those of the ids that no
    item had, each once; absent if there are none.
    """

    deleted: int
    sequence: int
    unknown_fields: UnknownFields = Field(default_factory=list)
    unknown_ids: list[str] = Field(default_factory=list, exclude_if=lambda ids: not ids)


class CountItemsRequest(RequestBody):
    """The JSON body of `POST …/items/count`: which items to count, by their `ids` or a `filter`; all without either."""

    ids: list[ItemId] | None = Field(default=None, min_length=1, max_length=MAX_DELETED, fail_fast=True)
    filter: Filter | None = None

    @model_validator(mode="after")
    def _one_choice_at_most(self) -> Self:
        if self.ids is not None and self.filter is not None:
            raise ValueError("expected ids or filter, not both")
        return self


class CountItemsAnswer(BaseModel):
    """The number of items. `unknown_fields`: those of the filter's fields that no item of the gallery has."""

    count: int
    unknown_fields: UnknownFields = Field(default_factory=list)


class DeleteAnswer(BaseModel):
    """The id that was deleted, and the gallery's sequence number after that."""

    deleted: str
    sequence: int


class Item(ShortRepr):
    """A stored item. `vector` (base64 of f16le) is present if it was requested."""

    id: str
    payload: Payload
    has_photo: bool
    photo_sha256: str | None = None
    vector: str | None = None
    dtype: Literal["f16le"] | None = None


class ItemPage(Listed[Item]):
    """One page of a listing in the order of ids. `next_cursor` is absent on the last page.

    `unknown_fields`: those of the filter's fields that no item of the gallery has.
    """

    items: list[Item]
    next_cursor: str | None = None
    unknown_fields: UnknownFields = Field(default_factory=list)

    def _entries(self) -> list[Item]:
        return self.items
