"""Calls that search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from askew_client.calls.bodies import PhotoFile, checked_vector, photo_bytes
from askew_client.calls.call import BINARY, JSON, Call, gallery_path, json_body, query_parameters, segment
from askew_client.contract.search import BatchSearchAnswer, SearchAnswer
from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.photos import media_type

SearchFilter = Mapping[str, JsonValue]
"""A condition on payloads as JSON has it, for example {"field": "kind", "eq": "landmark"}."""
WithPayload = bool | Sequence[str]
"""Whether hits carry their payload: all of it, nothing of it, or these fields."""
SearchOptions = Mapping[str, JsonValue]


def search_options(
    limit: int,
    score_threshold: float | None,
    max_false_match: float | None,
    filter: SearchFilter | None,  # noqa: A002
    exclude: Sequence[str],
    with_payload: WithPayload,
    with_vectors: bool,
    group_by: str | None,
    group_size: int,
    exact: bool,
) -> SearchOptions:
    """The options of a search as JSON members, as far as they are not the server's own; the server checks them."""
    options: dict[str, JsonValue] = {"limit": limit}
    if score_threshold is not None:
        options["score_threshold"] = score_threshold
    if max_false_match is not None:
        options["max_false_match"] = max_false_match
    if filter is not None:
        options["filter"] = dict(filter)
    if exclude:
        options["exclude"] = list(exclude)
    if with_payload is not True:
        options["with_payload"] = list(with_payload) if with_payload else False
    if with_vectors:
        options["with_vectors"] = True
    if group_by is not None:
        options |= {"group_by": group_by, "group_size": group_size}
    if exact:
        options["exact"] = True
    return options


def search(
    vector: NDArray[np.float32], options: SearchOptions, *, space: str, encoder: str | None, gallery: str | None
) -> Call[SearchAnswer]:
    """Search with one vector, which travels raw as float16."""
    origin = {"Askew-Space": space, "Askew-Dtype": "f16le"}
    if encoder is not None:
        origin["Askew-Encoder"] = encoder
    return Call(
        "POST",
        f"{gallery_path(gallery)}/search",
        SearchAnswer,
        params=query_parameters(options),
        headers=BINARY | origin,
        body=pack(checked_vector(vector)),
    )


def search_batch(
    vectors: NDArray[np.float32], options: SearchOptions, *, space: str, encoder: str | None, gallery: str | None
) -> Call[BatchSearchAnswer]:
    """Search with many vectors."""
    origin = {"dtype": "f16le", "space": space}
    if encoder is not None:
        origin["encoder"] = encoder
    queries = [{"vector": pack_base64(checked_vector(each)), **origin} for each in vectors]
    body = json_body({"queries": queries, **options})
    return Call("POST", f"{gallery_path(gallery)}/search/batch", BatchSearchAnswer, headers=JSON, body=body)


def search_photo(
    photo: PhotoFile, options: SearchOptions, *, encoder: str | None, gallery: str | None
) -> Call[SearchAnswer]:
    """Search with a photo, which the server describes."""
    content = photo_bytes(photo)
    return Call(
        "POST",
        f"{gallery_path(gallery)}/search/photo",
        SearchAnswer,
        params=query_parameters({**options, "encoder": encoder}),
        headers={"Content-Type": media_type(content)},
        body=content,
    )


def similar(item_id: str, options: SearchOptions, *, gallery: str) -> Call[SearchAnswer]:
    """Search with the vector of an item."""
    path = f"{gallery_path(gallery)}/items/{segment(item_id)}/similar"
    return Call("GET", path, SearchAnswer, params=query_parameters(options))
