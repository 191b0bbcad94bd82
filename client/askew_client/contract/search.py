"""Requests and answers as they travel, the same models in the server and in the client."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from askew_client.contract.common import MAX_BATCH, ItemId, Payload, RequestBody, Vector
from askew_client.contract.filters import FieldPath, Filter, Scalar
from askew_client.contract.space import SpaceId

MAX_LIMIT = 1_000
MAX_EXCLUDED = 100
MAX_GROUP_SIZE = 100


class SearchOptions(RequestBody):
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


class Query(RequestBody):
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
