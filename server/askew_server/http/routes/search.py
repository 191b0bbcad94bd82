"""`POST /search` and its siblings; a raw query vector is answered by raw_search.py."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import (
    BatchSearchAnswer,
    BatchSearchRequest,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
)
from askew_client.contract.wire import unpack_json
from askew_client.encoding.photos import media_type
from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery
from askew_server.http.middleware.observer import call_of
from askew_server.http.openapi import BATCH_BODY, RAW_PHOTO, SEARCH_BODY, problems
from askew_server.http.search_answer import answer_json, batch_json
from askew_server.http.search_query import found, option_parameters, options_of, raw_parameters
from askew_server.http.state import InService, Service
from askew_server.http.worked import worked
from askew_server.index.types import Vectors

router = APIRouter(tags=["search"])


@router.post(
    "/search",
    response_model=SearchAnswer,
    openapi_extra={**SEARCH_BODY, "parameters": raw_parameters()},
    responses=problems(404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search",
    response_model=SearchAnswer,
    openapi_extra={**SEARCH_BODY, "parameters": raw_parameters()},
    responses=problems(404, 409, 415, 422, 429),
)
async def search(request: Request, service: InService, gallery: str | None = None) -> Response:
    """Search with one query vector, raw or in JSON."""
    began = time.perf_counter()
    owned = service.gallery(gallery)
    _require_json(request, "application/json or application/octet-stream")
    query = SearchRequest.model_validate_json(await request.body())
    await service.check_space(owned, query.space)
    vector = unpack_json(query.vector, query.dtype, owned.dim)
    call_of(request).note("decode", began, time.perf_counter())
    return await _answer(request, service, owned, vector[None], query.encoder, query)


@router.post(
    "/search/batch",
    response_model=BatchSearchAnswer,
    openapi_extra=BATCH_BODY,
    responses=problems(404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search/batch",
    response_model=BatchSearchAnswer,
    openapi_extra=BATCH_BODY,
    responses=problems(404, 409, 415, 422, 429),
)
async def search_batch(request: Request, service: InService, gallery: str | None = None) -> Response:
    """Search with many query vectors at once; each answer is the same as alone."""
    began = time.perf_counter()
    owned = service.gallery(gallery)
    _require_json(request, "application/json")
    body = await request.body()
    batch = await worked(len(body), lambda: BatchSearchRequest.model_validate_json(body))
    for query in batch.queries:
        await service.check_space(owned, query.space)
    vectors = await worked(len(body), lambda: _vectors(batch, owned.dim))
    encoders = {query.encoder for query in batch.queries}
    if batch.max_false_match is not None and len(encoders) > 1:
        raise Refusal(ProblemKind.VALIDATION, "Expected one encoder for all queries with max_false_match, got several.")
    call_of(request).note("decode", began, time.perf_counter())
    result = await found(service, owned, vectors, encoders, batch, call_of(request), request.receive)
    body = batch_json(result.hits, batch, space=owned.space, gallery=owned.name, index=result.index, exact=result.exact)
    return Response(body, media_type="application/json")


@router.post(
    "/search/photo",
    response_model=SearchAnswer,
    openapi_extra={**RAW_PHOTO, "parameters": option_parameters()},
    responses=problems(403, 404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search/photo",
    response_model=SearchAnswer,
    openapi_extra={**RAW_PHOTO, "parameters": option_parameters()},
    responses=problems(403, 404, 409, 415, 422, 429),
)
async def search_photo(
    request: Request,
    service: InService,
    gallery: str | None = None,
    encoder: Annotated[str | None, Query(description="The encoder to describe it with; the teacher if absent.")] = None,
) -> Response:
    """Search with a photo that the server describes; off unless the server was started with --photo-search."""
    if not service.settings.photo_search:
        raise Refusal(
            ProblemKind.PHOTO_SEARCH_OFF,
            "This server does not describe query photos. Describe the photo with an admitted encoder and send the vector, "
            "or start the server with --photo-search.",
        )
    owned = service.gallery(gallery)
    options = options_of(request.scope["query_string"], frozenset({"encoder"}))
    photo = await request.body()
    media_type(photo)
    name = encoder or owned.teacher.encoder_id
    path = owned.encoders.facts.file(name)
    began = time.perf_counter()
    vector = await service.describe(path, photo)
    call_of(request).note("describe", began, time.perf_counter())
    return await _answer(request, service, owned, vector[None], name, options)


async def _answer(
    request: Request,
    service: Service,
    owned: OwnedGallery,
    vectors: Vectors,
    encoder: str | None,
    options: SearchOptions,
) -> Response:
    result = await found(service, owned, vectors, (encoder,), options, call_of(request), request.receive)
    body = answer_json(
        result.hits[0],
        options,
        space=owned.space,
        gallery=owned.name,
        encoder=encoder,
        index=result.index,
        exact=result.exact,
    )
    return Response(body, media_type="application/json")


def _vectors(batch: BatchSearchRequest, dim: int) -> Vectors:
    return np.stack([unpack_json(query.vector, query.dtype, dim) for query in batch.queries])


def _require_json(request: Request, expected: str) -> None:
    received = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if received != "application/json":
        raise Refusal(
            ProblemKind.UNSUPPORTED_MEDIA,
            f"Expected a body of type {expected}, got {received[:80] or 'none'}.",
            {"expected": expected, "received": received[:80]},
        )
