"""Wire models of searches: queries, options, hits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from askew_client.contract.common import MAX_BATCH, ItemId, Payload, RequestBody, Vector
from askew_client.contract.filters.conditions import Filter, Scalar
from askew_client.contract.filters.field_paths import FieldPath, UnknownFields
from askew_client.contract.shown import Listed, ShortRepr
from askew_client.contract.space import SpaceId

MAX_LIMIT = 1_000
MAX_EXCLUDED = 100
MAX_GROUP_SIZE = 100


class SearchOptions(RequestBody):
    """The options of a search, for every form of query.

    `limit`: the maximum number of hits. `score_threshold`: leave out hits below this score, in [-1, 1].
    `max_false_match`: leave out hits below the score that, according to the admission report of `encoder`, this share
    of queries without a match would still reach; in (0, 1). At most one of the two. `filter`: a condition on payloads.
    `exclude`: ids that must not be hits. `with_payload`: whether hits carry their payload, or which fields of it.
    `with_vectors`: whether they carry the stored vector. `group_by`: a payload field: return at most `group_size` hits
    for each of its values, and at most `limit` values; items without the field are left out. `exact`: compare with
    every vector, whatever the index.
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
            raise ValueError("expected score_threshold or max_false_match, got both")
        return self


class Query(RequestBody):
    """One query vector with its space and the encoder (`name@version`) that made it."""

    vector: Vector
    dtype: str | None = None
    space: SpaceId | None = None
    encoder: str | None = Field(default=None, max_length=140)


class SearchRequest(Query, SearchOptions):
    """The JSON body of `POST /search`."""


class BatchSearchRequest(SearchOptions):
    """The JSON body of `POST …/search/batch`: many queries with the same options."""

    queries: list[Query] = Field(min_length=1, max_length=MAX_BATCH, fail_fast=True)


class Hit(ShortRepr):
    """An item that was found. `score`: the inner product of unit vectors, in [-1, 1]; higher is better.

    `payload`, `vector` (base64 of f16le) and `group` (the value of `group_by`): if they were asked for.
    """

    id: str
    score: float
    payload: Payload = Field(default_factory=dict)
    vector: str | None = None
    dtype: Literal["f16le"] | None = None
    group: Scalar | None = None


class SearchAnswer(Listed[Hit]):
    """The answer to one query: hits by descending score, equal scores by id.

    `unknown_fields`: those of the filter's fields, and of `group_by`, that no item of the gallery has.
    """

    hits: list[Hit]
    space: SpaceId
    gallery: str
    encoder: str | None = None
    index: str
    exact: bool
    unknown_fields: UnknownFields = Field(default_factory=list)

    def _entries(self) -> list[Hit]:
        return self.hits


class BatchHits(Listed[Hit]):
    """The hits of one query of a batch."""

    hits: list[Hit]

    def _entries(self) -> list[Hit]:
        return self.hits


class BatchSearchAnswer(Listed[BatchHits]):
    """The answer to a batch, in the order of its queries. `unknown_fields`: as in SearchAnswer."""

    results: list[BatchHits]
    space: SpaceId
    gallery: str
    index: str
    exact: bool
    unknown_fields: UnknownFields = Field(default_factory=list)

    def _entries(self) -> list[BatchHits]:
        return self.results
