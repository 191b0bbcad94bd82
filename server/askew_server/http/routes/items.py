"""Items of a gallery: insert, replace, read, list, count, delete, and their photos."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Query, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.common import ItemId
from askew_client.contract.filters.conditions import Filter
from askew_client.contract.items import (
    CountItemsAnswer,
    CountItemsRequest,
    DeleteAnswer,
    DeleteItemsAnswer,
    DeleteItemsRequest,
    Item,
    ItemPage,
    UpsertAnswer,
)
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchAnswer
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE
from askew_server.errors import Refusal
from askew_server.gallery.answer_size import with_room
from askew_server.gallery.items import FoundPage, ItemAsStored, count_items, find_item, find_page, photo_of, vector_of
from askew_server.http.concurrency import run_off_loop
from askew_server.http.context import InContext
from askew_server.http.description import vector_of_upload
from askew_server.http.openapi import file_answers, option_parameters, problems
from askew_server.http.receiving.bodies import ItemsBody, JsonBody
from askew_server.http.receiving.item_bodies import ReceivedItems
from askew_server.http.receiving.photo_upload import PhotoUpload, PhotoUploadBody, read_payload
from askew_server.http.responses import FileAnswer, JsonInParts, json_answer
from askew_server.http.routing import make_router, of_one_gallery
from askew_server.http.search_answer import item_answer, page_answer, search_answer
from askew_server.http.search_query import options_of, run_search
from askew_server.http.state import InChanges, InGallery, InState
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.photos import photo_sha256, require_intact_photo
from askew_server.storage.port import ItemFilter, ItemReader

router = make_router(prefix="/v1/galleries/{gallery}/items", tags=["items"])

NewItems = Annotated[ReceivedItems, Depends(ItemsBody())]
NewPhoto = Annotated[PhotoUpload, Depends(PhotoUploadBody(with_payload=True))]
ItemsToDelete = Annotated[DeleteItemsRequest, Depends(JsonBody(DeleteItemsRequest))]
ItemsToCount = Annotated[CountItemsRequest, Depends(JsonBody(CountItemsRequest, is_required=False))]
WithVectors = Annotated[bool, Query(description="Send the vectors too, base64 of f16le.")]

_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


@router.put("", response_model=UpsertAnswer, responses=problems(404, 409, 413, 415, 422, 503, 507))
@of_one_gallery("write")
async def upsert(request: Request, state: InState, gallery: InGallery, changes: InChanges, items: NewItems) -> Response:
    """Insert or replace items by id, all or none. Acknowledged once they are on the disk."""
    gallery.check_space(items.space, allow_missing=state.settings.allow_missing_space)
    batch = await run_off_loop(request, items.size, lambda: items.batch(gallery.dim))
    sequence = await changes.write(lambda each: each.upsert(batch))
    return json_answer(UpsertAnswer(upserted=len(set(batch.ids)), sequence=sequence))


@router.post("/delete", response_model=DeleteItemsAnswer, responses=problems(404, 413, 415, 422, 503, 507))
@of_one_gallery("write")
async def delete_items(gallery: InGallery, changes: InChanges, wanted: ItemsToDelete) -> Response:
    """Delete items by their ids, or all that meet a filter. Unknown ids are ignored, and named in the answer."""
    unknown_fields: list[str] = []
    unknown_ids: list[str] = []
    if wanted.filter is not None:
        condition = wanted.filter
        selection = await gallery.read(lambda _, payload_filter: payload_filter.select(condition))
        change, unknown_fields = await changes.write(lambda each: each.delete_selected(selection))
    else:
        ids = wanted.ids or []
        change, unknown_ids = await changes.write(lambda each: each.delete_items(ids))
    answer = DeleteItemsAnswer(
        deleted=len(change.removed),
        sequence=change.sequence,
        unknown_fields=unknown_fields,
        unknown_ids=unknown_ids,
    )
    return json_answer(answer)


# A search with the filter tells as much, so a key that may search may count.
@router.post("/count", response_model=CountItemsAnswer, responses=problems(404, 413, 415, 422, 429))
@of_one_gallery("search")
async def count_chosen(gallery: InGallery, wanted: ItemsToCount) -> Response:
    """Count items: those of some ids, those that meet a filter, or all without a body."""
    counted = await gallery.read(
        lambda reader, payload_filter: count_items(reader, payload_filter, wanted.ids, wanted.filter)
    )
    return json_answer(counted)


@router.put("/{item_id}", response_model=UpsertAnswer, responses=problems(404, 409, 413, 415, 422, 429, 503, 507))
@of_one_gallery("write")
async def upsert_photo(
    request: Request,
    state: InState,
    gallery: InGallery,
    changes: InChanges,
    item_id: str,
    upload: NewPhoto,
    payload: Annotated[str | None, Query(description="The payload, as JSON text.")] = None,
) -> Response:
    """Insert or replace one item by its photo; the gallery's teacher describes it unless a vector comes along."""
    identity = TypeAdapter(ItemId).validate_python(unquote(item_id))
    vector = await vector_of_upload(state, gallery, upload, request.receive)
    # A form brings its payload itself.
    text = upload.fields.get("payload") if upload.is_form else payload
    read = await run_off_loop(request, len(text or ""), lambda: read_payload(text))
    item = StoredItem(identity, vector, read, (upload.photo, upload.suffix))
    sequence = await changes.write(lambda each: each.upsert(ItemBatch.of([item])))
    return json_answer(UpsertAnswer(upserted=1, sequence=sequence))


@router.get("", response_model=ItemPage, responses=problems(404, 422, 429))
@of_one_gallery("write")
async def list_items(
    context: InContext,
    gallery: InGallery,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
    with_vectors: WithVectors = False,
    filter_text: Annotated[
        str | None, Query(alias="filter", description="A condition on payloads, as JSON text.")
    ] = None,
) -> Response:
    """List items in the order of their ids; follow `next_cursor` to the end."""
    wanted = None if filter_text is None else _FILTER.validate_json(filter_text)

    def read(reader: ItemReader, payload_filter: ItemFilter) -> FoundPage:
        with reader.snapshot():
            selection = None if wanted is None else payload_filter.select(wanted)
            return find_page(reader, cursor, limit, context.size, selection, with_vectors=with_vectors)

    return JsonInParts(await page_answer(await with_room(context.size, lambda: gallery.read(read))))


@router.get("/{item_id}", response_model=Item, responses=problems(404, 422, 429))
@of_one_gallery("search")
async def get_item(context: InContext, gallery: InGallery, item_id: str, with_vectors: WithVectors = False) -> Response:
    """Read one item."""
    identity = unquote(item_id)

    def read(reader: ItemReader, _: ItemFilter) -> ItemAsStored:
        return find_item(reader, gallery.name, identity, context.size, with_vector=with_vectors)

    return JsonInParts(await item_answer(await with_room(context.size, lambda: gallery.read(read))))


@router.get(
    "/{item_id}/similar",
    response_model=SearchAnswer,
    openapi_extra={"parameters": [each for each in option_parameters() if each["name"] != "max_false_match"]},
    responses=problems(404, 422, 429),
)
@of_one_gallery("search", is_search=True)
async def find_similar(
    request: Request, state: InState, context: InContext, gallery: InGallery, item_id: str
) -> Response:
    """Find the items nearest to one that the gallery holds, without that one."""
    identity = unquote(item_id)
    options = options_of(request.scope["query_string"], context.match)
    if options.max_false_match is not None:
        raise Refusal(
            ProblemKind.VALIDATION,
            "Expected no max_false_match: it is measured on an encoder's queries, and an item is not one. Give "
            "score_threshold.",
        )
    others = options.model_copy(update={"exclude": [*options.exclude, identity]})
    vector = await gallery.read(lambda reader, _: vector_of(reader, gallery.name, identity))
    result = await run_search(state, gallery, vector[None], (), others, context, request.receive)
    return JsonInParts(await search_answer(result, options, gallery, None, context.size))


@router.delete("/{item_id}", response_model=DeleteAnswer, responses=problems(404, 503, 507))
@of_one_gallery("write")
async def delete_item(changes: InChanges, item_id: str) -> Response:
    """Delete one item and, if no other item has it, its photo."""
    identity = unquote(item_id)
    sequence = await changes.write(lambda each: each.delete(identity))
    return json_answer(DeleteAnswer(deleted=identity, sequence=sequence))


@router.get(
    "/{item_id}/photo",
    response_class=FileAnswer,
    responses={**file_answers(*SUFFIX_BY_MEDIA_TYPE), **problems(404, 416, 503)},
)
@of_one_gallery("search")
async def get_photo(state: InState, gallery: InGallery, item_id: str) -> Response:
    """Download the photo of an item, as it was indexed."""
    identity = unquote(item_id)
    path = await gallery.read(lambda reader, _: photo_of(reader, gallery.name, identity))
    await state.files.run(lambda _: require_intact_photo(path))
    kinds = {suffix: kind for kind, suffix in SUFFIX_BY_MEDIA_TYPE.items()}
    headers = {
        "Cache-Control": "no-cache",
        "ETag": f'"{photo_sha256(path.name)}"',
        "Content-Security-Policy": "default-src 'none'",
    }
    return FileAnswer(path, media_type=kinds.get(path.suffix), headers=headers)
