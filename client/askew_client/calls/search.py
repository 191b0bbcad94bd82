"""Calls that search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

from numpy.typing import ArrayLike
from pydantic import JsonValue

from askew_client.calls.bodies import PhotoFile, checked_vector, photo_bytes, vector_rows
from askew_client.calls.call import BINARY, JSON, Call, gallery_path, json_body, query_parameters, segment
from askew_client.contract.search import BatchSearchAnswer, SearchAnswer
from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.photos import media_type

SearchFilter = Mapping[str, JsonValue]
"""A condition on payloads as JSON has it, for example {"field": "kind", "eq": "landmark"}."""
WithPayload = bool | Sequence[str]
"""Whether hits carry their payload: all of it, none of it, or these fields."""

DEFAULT_LIMIT = 10


class SimilarParams(TypedDict, total=False):
    """The options of a search that starts from an item of the gallery. The server checks their values."""

    limit: int
    """Return at most this many hits, 1 to 1,000. 10 if it is not given."""
    score_threshold: float | None
    """Leave out hits with a lower score, in [-1, 1]."""
    filter: SearchFilter | None
    """Search only the items whose payload meets this condition."""
    exclude: Sequence[str]
    """Ids that must not be among the hits, up to 100."""
    with_payload: WithPayload
    """Whether hits carry their payload, or which fields of it. All of it if it is not given."""
    with_vectors: bool
    """Whether hits carry their stored vector."""
    group_by: str | None
    """A payload field: return at most `group_size` hits for each of its values, and at most `limit` values."""
    group_size: int
    """Hits for each value of `group_by`, 1 to 100. 1 if it is not given."""
    exact: bool
    """Compare with every vector, with any kind of index, however long it takes."""


class SearchParams(SimilarParams, total=False):
    """The options of every other search."""

    max_false_match: float | None
    """Leave out hits below the score that this share of queries without a match would still reach, in (0, 1).

    The server takes that score from the admission report of the query's encoder, so the search must name one.
    """


def check_options(method: str, options: SimilarParams, known: frozenset[str] = SearchParams.__optional_keys__) -> None:
    """Refuse an option that does not exist, as Python refuses an unknown keyword argument. Raises TypeError."""
    for name in options:
        if name not in known:
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}")


def search(
    vector: ArrayLike, options: SearchParams, *, space: str, encoder: str | None, gallery: str | None
) -> Call[SearchAnswer]:
    """Search with one [D] unit vector, sent as raw float16. Raises WireError, TypeError."""
    origin = {"Askew-Space": space, "Askew-Dtype": "f16le"}
    if encoder is not None:
        origin["Askew-Encoder"] = encoder
    return Call(
        "POST",
        f"{gallery_path(gallery)}/search",
        SearchAnswer,
        params=query_parameters(_members("search", options)),
        headers=BINARY | origin,
        body=pack(checked_vector(vector)),
        repeats=True,
    )


def search_batch(
    vectors: ArrayLike, options: SearchParams, *, space: str, encoder: str | None, gallery: str | None
) -> Call[BatchSearchAnswer]:
    """Search with [n, D] unit vectors. Raises WireError, TypeError."""
    origin = {"dtype": "f16le", "space": space}
    if encoder is not None:
        origin["encoder"] = encoder
    queries = [{"vector": pack_base64(checked_vector(each)), **origin} for each in vector_rows(vectors)]
    body = json_body({"queries": queries, **_members("search_batch", options)})
    path = f"{gallery_path(gallery)}/search/batch"
    return Call("POST", path, BatchSearchAnswer, headers=JSON, body=body, repeats=True)


def search_photo(
    photo: PhotoFile, options: SearchParams, *, encoder: str | None, gallery: str | None
) -> Call[SearchAnswer]:
    """Search with a photo that the server describes. Raises UnreadablePhoto, TypeError."""
    content = photo_bytes(photo)
    return Call(
        "POST",
        f"{gallery_path(gallery)}/search/photo",
        SearchAnswer,
        params=query_parameters({**_members("search_photo", options), "encoder": encoder}),
        headers={"Content-Type": media_type(content)},
        body=content,
        repeats=True,
    )


def similar(item_id: str, options: SimilarParams, *, gallery: str) -> Call[SearchAnswer]:
    """Search with the vector of an item. Raises TypeError."""
    check_options("similar", options, SimilarParams.__optional_keys__)
    path = f"{gallery_path(gallery)}/items/{segment(item_id)}/similar"
    # What is left is a SearchParams without `max_false_match`.
    return Call("GET", path, SearchAnswer, params=query_parameters(_members("similar", cast(SearchParams, options))))


def _members(method: str, options: SearchParams) -> dict[str, JsonValue]:
    """The options as JSON members; those that have the server's own default are left out. Raises TypeError."""
    check_options(method, options)
    members: dict[str, JsonValue] = {"limit": options.get("limit", DEFAULT_LIMIT)}
    if (score := options.get("score_threshold")) is not None:
        members["score_threshold"] = score
    if (share := options.get("max_false_match")) is not None:
        members["max_false_match"] = share
    if (condition := options.get("filter")) is not None:
        members["filter"] = dict(condition)
    if excluded := options.get("exclude"):
        members["exclude"] = list(excluded)
    if (payload := options.get("with_payload", True)) is not True:
        members["with_payload"] = list(payload) if payload else False
    if options.get("with_vectors"):
        members["with_vectors"] = True
    if (group := options.get("group_by")) is not None:
        members |= {"group_by": group, "group_size": options.get("group_size", 1)}
    if options.get("exact"):
        members["exact"] = True
    return members
