"""Calls about the items of a gallery."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from pydantic import JsonValue

from askew_client.calls.batches import ItemBatch
from askew_client.calls.bodies import PhotoFile, check_vectors, checked_vector
from askew_client.calls.call import JSON, Call, as_json, gallery_path, json_body, query_parameters, segment
from askew_client.calls.forms import photo_form, photos_form
from askew_client.calls.search import SearchFilter
from askew_client.contract.common import Payload
from askew_client.contract.errors import ProblemError
from askew_client.contract.items import CountItemsAnswer, DeleteAnswer, DeleteItemsAnswer, Item, ItemPage, UpsertAnswer
from askew_client.contract.jobs import Job
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import pack, pack_base64

PAGE = 1_000
UPLOAD_TIMEOUT = 600.0
"""Seconds: the server checks and writes an upload, or describes its photo, before it answers."""
COUNT_TIMEOUT = 60.0
"""Seconds: the first filter on a field reads all payloads."""


def upsert(batch: ItemBatch, *, gallery: str, space: str) -> Call[UpsertAnswer]:
    """Insert or replace all items of a batch or none of them. Raises WireError.

    The body: the length of a JSON header as uint32, little-endian; the header; the vectors as raw float16.
    """
    vectors = np.stack(batch.vectors)
    check_vectors(vectors, batch.ids)
    items = [{"id": name, "payload": payload} for name, payload in zip(batch.ids, batch.payloads, strict=True)]
    header = json_body({"space": space, "dtype": "f16le", "items": items})
    body = struct.pack("<I", len(header)) + header + pack(vectors)
    headers = {"Content-Type": "application/vnd.askew.items"}
    return Call("PUT", f"{gallery_path(gallery)}/items", UpsertAnswer, headers=headers, body=body)


def upsert_photo(
    item_id: str,
    photo: PhotoFile,
    *,
    gallery: str,
    payload: Payload | None,
    vector: ArrayLike | None,
    space: str | None,
) -> Call[UpsertAnswer]:
    """Insert or replace an item with its photo. Raises UnreadablePhoto, WireError."""
    headers, body = photo_form(photo, {"payload": as_json(payload or {}), **vector_fields(vector, space)})
    return Call("PUT", _path(gallery, item_id), UpsertAnswer, headers=headers, body=body)


def upsert_photos(
    photos: Mapping[str, PhotoFile], payloads: Mapping[str, Payload] | None, *, gallery: str
) -> Call[Job]:
    """Insert or replace items by their photos, in the background. Raises UnreadablePhoto, ValueError."""
    headers, body = photos_form(photos, payloads or {})
    path = f"{gallery_path(gallery)}/items/photos"
    return Call("POST", path, Job, headers=headers, body=body, timeout=UPLOAD_TIMEOUT)


def page(
    *,
    gallery: str,
    condition: SearchFilter | None,
    with_vectors: bool,
    cursor: str | None,
    limit: int = PAGE,
) -> Call[ItemPage]:
    """One page of the items."""
    options = {"limit": limit, "with_vectors": with_vectors, "filter": _as_json(condition), "cursor": cursor}
    return Call("GET", f"{gallery_path(gallery)}/items", ItemPage, params=query_parameters(options))


def smaller_page(limit: int, problem: ProblemError) -> int:
    """The limit to try after a page of `limit` items was refused. Raises the problem unless a smaller page can help."""
    if problem.problem.slug != ProblemKind.ANSWER_TOO_LARGE.slug or limit == 1:
        raise problem
    return limit // 2


def item(item_id: str, *, gallery: str, with_vectors: bool) -> Call[Item]:
    """One item."""
    return Call("GET", _path(gallery, item_id), Item, params=query_parameters({"with_vectors": with_vectors}))


def photo(item_id: str, *, gallery: str) -> Call[bytes]:
    """The photo of an item."""
    return Call("GET", f"{_path(gallery, item_id)}/photo", bytes)


def delete_item(item_id: str, *, gallery: str) -> Call[DeleteAnswer]:
    """Delete one item."""
    return Call("DELETE", _path(gallery, item_id), DeleteAnswer)


def delete_items(
    ids: Sequence[str] | None,
    condition: SearchFilter | None,
    *,
    gallery: str,
) -> Call[DeleteItemsAnswer]:
    """Delete items by their ids or by a condition."""
    chosen = {"ids": None if ids is None else list(ids), "filter": _as_json(condition)}
    path = f"{gallery_path(gallery)}/items/delete"
    return Call("POST", path, DeleteItemsAnswer, headers=JSON, body=json_body(chosen), timeout=UPLOAD_TIMEOUT)


def count_items(
    ids: Sequence[str] | None,
    condition: SearchFilter | None,
    *,
    gallery: str,
) -> Call[CountItemsAnswer]:
    """Count items by their ids or by a condition, or all."""
    chosen = {"ids": None if ids is None else list(ids), "filter": _as_json(condition)}
    path = f"{gallery_path(gallery)}/items/count"
    body = json_body(chosen)
    return Call("POST", path, CountItemsAnswer, headers=JSON, body=body, timeout=COUNT_TIMEOUT, repeats=True)


def vector_fields(vector: ArrayLike | None, space: str | None) -> dict[str, str]:
    """The form fields of a photo's vector. Raises WireError."""
    fields = {} if vector is None else {"vector": pack_base64(checked_vector(vector)), "dtype": "f16le"}
    return fields if space is None else {**fields, "space": space}


def _as_json(condition: SearchFilter | None) -> dict[str, JsonValue] | None:
    return None if condition is None else dict(condition)


def _path(gallery: str, item_id: str) -> str:
    return f"{gallery_path(gallery)}/items/{segment(item_id)}"
