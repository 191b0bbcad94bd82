"""Items of a gallery: insert, replace, read, list, delete, and their photos."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import unquote

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from pydantic import TypeAdapter
from starlette.datastructures import UploadFile

from askew_client.contract.common import ItemId, Payload
from askew_client.contract.filters import Filter
from askew_client.contract.items import (
    DeleteAnswer,
    DeleteItemsAnswer,
    DeleteItemsRequest,
    Item,
    ItemPage,
    UpsertAnswer,
)
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchAnswer
from askew_client.contract.wire import unpack_json
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type
from askew_server.errors import Refusal
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.items import photo_of, read_item, read_page, vector_of
from askew_server.gallery.live import OwnedGallery
from askew_server.http.item_bodies import RAW_ITEMS, read_json_items, read_raw_items
from askew_server.http.middleware.observer import call_of
from askew_server.http.openapi import DELETE_BODY, ITEM_BODY, UPSERT_BODY, file_answers, problems
from askew_server.http.responses import FileAnswer, json_answer
from askew_server.http.search_answer import answer_json
from askew_server.http.search_query import found, option_parameters, options_of
from askew_server.http.state import InService, Service
from askew_server.http.worked import worked
from askew_server.storage.items import StoredItem
from askew_server.storage.verification import require_whole_photo

router = APIRouter(prefix="/v1/galleries/{gallery}/items", tags=["items"])

WithVectors = Annotated[bool, Query(description="Send the vectors too, base64 of f16le.")]
_MOST_FORM_PARTS = 8
_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)
_READERS = {"application/json": read_json_items, RAW_ITEMS: read_raw_items}


@router.put(
    "", response_model=UpsertAnswer, openapi_extra=UPSERT_BODY, responses=problems(404, 409, 413, 415, 422, 507)
)
async def upsert(request: Request, service: InService, gallery: str) -> Response:
    """Insert or replace items by id, all or none. Acknowledged once they are on the disk."""
    owned = service.gallery(gallery)
    read = _READERS.get(_content_type(request))
    if read is None:
        raise _unsupported_media(request, " or ".join(_READERS))
    body = await request.body()
    received = await worked(len(body), lambda: read(body))
    await service.check_space(owned, received.space)
    batch = await worked(len(body), lambda: received.batch(owned.dim))
    sequence = await service.run(owned, lambda each: each.upsert_batch(batch))
    return json_answer(UpsertAnswer(upserted=len(batch.ids), sequence=sequence))


@router.post(
    "/delete", response_model=DeleteItemsAnswer, openapi_extra=DELETE_BODY, responses=problems(404, 413, 415, 422, 507)
)
async def delete_items(request: Request, service: InService, gallery: str) -> Response:
    """Delete items by their ids, unknown ones passed over, or all that meet a filter."""
    owned = service.gallery(gallery)
    if _content_type(request) != "application/json":
        raise _unsupported_media(request, "application/json")
    wanted = DeleteItemsRequest.model_validate_json(await request.body())
    if wanted.filter is not None:
        condition = wanted.filter
        await owned.check_filter(condition)
        change = await service.run(owned, lambda each: each.delete_where(condition))
    else:
        ids = wanted.ids or []
        change = await service.run(owned, lambda each: each.delete_items(ids))
    return json_answer(DeleteItemsAnswer(deleted=len(change.removed), sequence=change.sequence))


@router.put(
    "/{item_id}",
    response_model=UpsertAnswer,
    openapi_extra=ITEM_BODY,
    responses=problems(404, 409, 413, 415, 422, 429, 507),
)
async def upsert_photo(
    request: Request,
    service: InService,
    gallery: str,
    item_id: str,
    payload: Annotated[str | None, Query(description="The payload, as JSON text.")] = None,
) -> Response:
    """Insert or replace one item by its photo; the gallery's teacher describes it unless a vector comes along."""
    owned = service.gallery(gallery)
    identity = TypeAdapter(ItemId).validate_python(unquote(item_id))
    content_type = _content_type(request)
    if content_type == "multipart/form-data":
        item = await _item_of_form(request, service, owned, identity)
    elif content_type.startswith("image/"):
        photo = await request.body()
        stored = (photo, SUFFIX_BY_MEDIA_TYPE[media_type(photo)])
        vector = await _described(service, owned, photo)
        item = StoredItem(identity, vector, _payload(payload), stored)
    else:
        raise _unsupported_media(request, "image/jpeg, image/png, image/webp (a photo) or multipart/form-data")
    sequence = await service.run(owned, lambda each: each.upsert([item]))
    return json_answer(UpsertAnswer(upserted=1, sequence=sequence))


@router.get("", response_model=ItemPage, responses=problems(404, 422))
async def list_items(
    service: InService,
    gallery: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
    with_vectors: WithVectors = False,
    filter_text: Annotated[
        str | None, Query(alias="filter", description="A condition on payloads, as JSON text.")
    ] = None,
) -> Response:
    """List items in the order of their ids; follow `next_cursor` to the end."""
    owned = service.gallery(gallery)
    condition = None if filter_text is None else _FILTER.validate_json(filter_text)
    if condition is not None:
        await owned.check_filter(condition)
    page = await owned.read(lambda reader, _: read_page(reader, cursor, limit, condition, with_vectors=with_vectors))
    return json_answer(page)


@router.get("/{item_id}", response_model=Item, responses=problems(404))
async def get_item(service: InService, gallery: str, item_id: str, with_vectors: WithVectors = False) -> Response:
    """Read one item."""
    owned = service.gallery(gallery)
    identity = unquote(item_id)
    item = await owned.read(lambda reader, _: read_item(reader, owned.name, identity, with_vector=with_vectors))
    return json_answer(item)


@router.get(
    "/{item_id}/similar",
    response_model=SearchAnswer,
    openapi_extra={"parameters": [each for each in option_parameters() if each["name"] != "max_false_match"]},
    responses=problems(404, 422, 429),
)
async def find_similar(request: Request, service: InService, gallery: str, item_id: str) -> Response:
    """The items nearest to one that the gallery holds, without that one."""
    owned = service.gallery(gallery)
    identity = unquote(item_id)
    options = options_of(request.scope["query_string"])
    if options.max_false_match is not None:
        raise Refusal(
            ProblemKind.VALIDATION,
            "Expected no max_false_match: it is measured on an encoder's queries, and an item is none. Give score_threshold.",
        )
    others = options.model_copy(update={"exclude": [*options.exclude, identity]})
    vector = await owned.read(lambda reader, _: vector_of(reader, owned.name, identity))
    result = await found(service, owned, vector[None], (), others, call_of(request), request.receive)
    body = answer_json(
        result.hits[0],
        options,
        space=owned.space,
        gallery=owned.name,
        encoder=None,
        index=result.index,
        exact=result.exact,
    )
    return Response(body, media_type="application/json")


@router.delete("/{item_id}", response_model=DeleteAnswer, responses=problems(404, 507))
async def delete_item(service: InService, gallery: str, item_id: str) -> Response:
    """Delete one item and, if no other item has it, its photo."""
    owned = service.gallery(gallery)
    identity = unquote(item_id)
    sequence = await service.run(owned, lambda each: each.delete(identity))
    return json_answer(DeleteAnswer(deleted=identity, sequence=sequence))


@router.get(
    "/{item_id}/photo",
    response_class=FileAnswer,
    responses={**file_answers(*SUFFIX_BY_MEDIA_TYPE), **problems(404, 416, 503)},
)
async def get_photo(service: InService, gallery: str, item_id: str) -> Response:
    """The photo of an item, as it was indexed."""
    owned = service.gallery(gallery)
    identity = unquote(item_id)
    path = await owned.read(lambda reader, _: photo_of(reader, owned.name, identity))
    await asyncio.to_thread(require_whole_photo, path)
    kinds = {suffix: kind for kind, suffix in SUFFIX_BY_MEDIA_TYPE.items()}
    headers = {
        "Cache-Control": "no-cache",
        "ETag": f'"{path.stem}"',
        "Content-Security-Policy": "default-src 'none'",
    }
    return FileAnswer(path, media_type=kinds.get(path.suffix), headers=headers)


async def _item_of_form(request: Request, service: Service, owned: OwnedGallery, identity: str) -> StoredItem:
    async with request.form(max_files=1, max_fields=_MOST_FORM_PARTS, max_part_size=1_000_000) as form:
        photo_part = form.get("photo")
        if not isinstance(photo_part, UploadFile):
            raise Refusal(ProblemKind.VALIDATION, "Expected the form to have a file `photo`.")
        photo = await photo_part.read()
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
    suffix = SUFFIX_BY_MEDIA_TYPE[media_type(photo)]
    if "vector" in texts:
        await service.check_space(owned, texts.get("space"))
        vector = unpack_json(texts["vector"], texts.get("dtype"), owned.dim)
    else:
        vector = await _described(service, owned, photo)
    return StoredItem(identity, vector, _payload(texts.get("payload")), (photo, suffix))


async def _described(service: Service, owned: OwnedGallery, photo: bytes) -> NDArray[np.float32]:
    path = await service.run(owned, Gallery.teacher_path)
    if path is None:
        raise Refusal(
            ProblemKind.CANNOT_DESCRIBE,
            f"Gallery {owned.name!r} keeps no file of its teacher {owned.teacher.encoder_id}, so the server cannot describe "
            "photos for it. Send the teacher's file with PUT /v1/galleries/NAME, or send the vector with the photo.",
        )
    return await service.describe(path, photo)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported_media(request: Request, expected: str) -> Refusal:
    received = _content_type(request)[:80]
    return Refusal(
        ProblemKind.UNSUPPORTED_MEDIA,
        f"Expected a body of type {expected}, got {received or 'none'}.",
        {"expected": expected, "received": received},
    )


def _payload(text: str | None) -> Payload:
    return {} if text is None else TypeAdapter(Payload).validate_json(text)
