"""`POST /search` and its siblings; a raw query vector is answered by middleware/raw_search.py."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from fastapi import Depends, Query, Request, Response

from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import BatchSearchAnswer, BatchSearchRequest, SearchAnswer, SearchRequest
from askew_client.contract.wire import unpack_json
from askew_server.encoders.selection import default_describer
from askew_server.errors import Refusal
from askew_server.http.concurrency import run_off_loop
from askew_server.http.context import InContext
from askew_server.http.openapi import option_parameters, problems, raw_parameters
from askew_server.http.receiving.bodies import RAW_VECTOR, JsonBody
from askew_server.http.receiving.photo_upload import PhotoUpload, QueryPhotoBody
from askew_server.http.responses import JsonInParts
from askew_server.http.routing import BodyKind, make_router, of_one_gallery
from askew_server.http.search_answer import batch_answer, search_answer
from askew_server.http.search_query import options_of, run_search
from askew_server.http.state import InGallery, InState
from askew_server.index.types import Vectors

router = make_router(tags=["search"])

SearchQuery = Annotated[SearchRequest, Depends(JsonBody(SearchRequest, raw=RAW_VECTOR))]
SearchBatch = Annotated[BatchSearchRequest, Depends(JsonBody(BatchSearchRequest))]
QueryPhoto = Annotated[PhotoUpload, Depends(QueryPhotoBody())]

_DESCRIBER = (
    "The encoder to describe it with. Without it, the student that /v1/encoders/best answers, or the teacher where no "
    "student is admitted; `encoder` in the answer names it."
)


async def require_photo_search(state: InState) -> None:
    """Refuse to describe photos, before one is read, unless the server was started to. Raises Refusal."""
    if not state.settings.photo_search:
        raise Refusal(
            ProblemKind.PHOTO_SEARCH_OFF,
            "This server does not describe query photos. Describe the photo with an admitted encoder and send the vector, "
            "or start the server with --photo-search.",
        )


@router.post(
    "/search",
    response_model=SearchAnswer,
    openapi_extra={"parameters": raw_parameters()},
    responses=problems(404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search",
    response_model=SearchAnswer,
    openapi_extra={"parameters": raw_parameters()},
    responses=problems(404, 409, 415, 422, 429),
)
@of_one_gallery("search", body=BodyKind.QUERY, is_search=True, takes_raw_vector=True)
async def search(
    request: Request, state: InState, context: InContext, gallery: InGallery, query: SearchQuery
) -> Response:
    """Search with one query vector, raw or in JSON."""
    gallery.check_space(query.space, allow_missing=state.settings.allow_missing_space)
    vector = unpack_json(query.vector, query.dtype, gallery.dim)
    context.record.note("decode", request.state.reading_began, time.perf_counter())
    encoders = (query.encoder,)
    result = await run_search(state, gallery, vector[None], encoders, query, context, request.receive)
    return JsonInParts(await search_answer(result, query, gallery, query.encoder, context.size))


@router.post("/search/batch", response_model=BatchSearchAnswer, responses=problems(404, 409, 415, 422, 429))
@router.post(
    "/v1/galleries/{gallery}/search/batch",
    response_model=BatchSearchAnswer,
    responses=problems(404, 409, 415, 422, 429),
)
@of_one_gallery("search", is_search=True)
async def search_batch(
    request: Request, state: InState, context: InContext, gallery: InGallery, batch: SearchBatch
) -> Response:
    """Search with many query vectors at once; each answer is the same as alone."""
    for query in batch.queries:
        gallery.check_space(query.space, allow_missing=state.settings.allow_missing_space)
    size = len(await request.body())
    vectors = await run_off_loop(request, size, lambda: _vectors(batch, gallery.dim))
    encoders = {query.encoder for query in batch.queries}
    if batch.max_false_match is not None and len(encoders) > 1:
        raise Refusal(ProblemKind.VALIDATION, "Expected one encoder for all queries with max_false_match, got several.")
    context.record.note("decode", request.state.reading_began, time.perf_counter())
    result = await run_search(state, gallery, vectors, encoders, batch, context, request.receive)
    return JsonInParts(await batch_answer(result, batch, gallery, context.size))


@router.post(
    "/search/photo",
    response_model=SearchAnswer,
    dependencies=[Depends(require_photo_search)],
    openapi_extra={"parameters": option_parameters()},
    responses=problems(403, 404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search/photo",
    response_model=SearchAnswer,
    dependencies=[Depends(require_photo_search)],
    openapi_extra={"parameters": option_parameters()},
    responses=problems(403, 404, 409, 415, 422, 429),
)
@of_one_gallery("search", is_search=True)
async def search_photo(
    request: Request,
    state: InState,
    context: InContext,
    gallery: InGallery,
    upload: QueryPhoto,
    encoder: Annotated[str | None, Query(description=_DESCRIBER)] = None,
) -> Response:
    """Search with a photo that the server describes; off unless the server was started with --photo-search."""
    options = options_of(request.scope["query_string"], context.match, frozenset({"encoder"}))
    facts = gallery.encoders.facts
    name = encoder or default_describer(facts)
    path = facts.file(name)
    began = time.perf_counter()
    vector = await state.describe(path, upload.photo, request.receive)
    context.record.note("describe", began, time.perf_counter())
    result = await run_search(state, gallery, vector[None], (name,), options, context, request.receive)
    return JsonInParts(await search_answer(result, options, gallery, name, context.size))


def _vectors(batch: BatchSearchRequest, dim: int) -> Vectors:
    return np.stack([unpack_json(query.vector, query.dtype, dim) for query in batch.queries])
