"""`POST /search` and its siblings."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.filters import Filter
from askew_client.contract.problems import ProblemKind
from askew_client.contract.schemas import (
    BatchHits,
    BatchSearchAnswer,
    BatchSearchRequest,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
)
from askew_client.contract.wire import unpack, unpack_json
from askew_client.photos import media_type
from askew_server.answers import json_answer
from askew_server.errors import Refusal
from askew_server.gallery import Gallery, SearchResult
from askew_server.index.port import Vectors
from askew_server.openapi import BATCH_BODY, RAW_PHOTO, SEARCH_BODY, problems
from askew_server.owned import OwnedGallery
from askew_server.service import InService, Service

router = APIRouter(tags=["search"])

FilterText = Annotated[str | None, Query(alias="filter", description="A condition on payloads, as JSON text.")]
Limit = Annotated[int, Query(description="How many hits at most, 1 to 1000.")]
Threshold = Annotated[float | None, Query(description="Leave out hits below this score, in [-1, 1].")]
FalseMatch = Annotated[float | None, Query(description="The share of unmatched queries that may get a hit, in (0, 1).")]


@router.post(
    "/search",
    response_model=SearchAnswer,
    openapi_extra=SEARCH_BODY,
    responses=problems(404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search",
    response_model=SearchAnswer,
    openapi_extra=SEARCH_BODY,
    responses=problems(404, 409, 415, 422, 429),
)
async def search(
    request: Request,
    service: InService,
    gallery: str | None = None,
    limit: Limit = 10,
    score_threshold: Threshold = None,
    max_false_match: FalseMatch = None,
    filter_text: FilterText = None,
    askew_space: Annotated[str | None, Header()] = None,
    askew_dtype: Annotated[str | None, Header()] = None,
    askew_encoder: Annotated[str | None, Header()] = None,
) -> Response:
    """Search with one query vector, raw or in JSON."""
    started = time.perf_counter()
    owned = service.gallery(gallery)
    body = await request.body()
    content_type = _content_type(request)
    if content_type == "application/octet-stream":
        options = _options(limit, score_threshold, max_false_match, filter_text)
        await service.check_space(owned, askew_space)
        vector, encoder = unpack(body, askew_dtype, owned.dim), askew_encoder
    elif content_type == "application/json":
        query = SearchRequest.model_validate_json(body)
        options, encoder = query, query.encoder
        await service.check_space(owned, query.space)
        vector = unpack_json(query.vector, query.dtype, owned.dim)
    else:
        raise _unsupported_media(content_type, "application/json or application/octet-stream")
    return await _answer(service, owned, vector[None], encoder, options, started)


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
    started = time.perf_counter()
    owned = service.gallery(gallery)
    if _content_type(request) != "application/json":
        raise _unsupported_media(_content_type(request), "application/json")
    batch = BatchSearchRequest.model_validate_json(await request.body())
    for query in batch.queries:
        await service.check_space(owned, query.space)
    vectors = np.stack([unpack_json(query.vector, query.dtype, owned.dim) for query in batch.queries])
    encoders = {query.encoder for query in batch.queries}
    if batch.max_false_match is not None and len(encoders) > 1:
        raise Refusal(ProblemKind.VALIDATION, "Expected one encoder for all queries with max_false_match, got several.")
    result, ready = await _found(service, owned, vectors, encoders, batch)
    answer = BatchSearchAnswer(
        results=[BatchHits(hits=hits) for hits in result.hits],
        space=owned.space,
        gallery=owned.name,
        index=result.index,
        exact=result.exact,
    )
    return _timed(json_answer(answer), started, ready, "read")


@router.post(
    "/search/photo",
    response_model=SearchAnswer,
    openapi_extra=RAW_PHOTO,
    responses=problems(403, 404, 409, 415, 422, 429),
)
@router.post(
    "/v1/galleries/{gallery}/search/photo",
    response_model=SearchAnswer,
    openapi_extra=RAW_PHOTO,
    responses=problems(403, 404, 409, 415, 422, 429),
)
async def search_photo(
    request: Request,
    service: InService,
    gallery: str | None = None,
    encoder: Annotated[str | None, Query(description="The encoder to describe it with; the teacher if absent.")] = None,
    limit: Limit = 10,
    score_threshold: Threshold = None,
    max_false_match: FalseMatch = None,
    filter_text: FilterText = None,
) -> Response:
    """Search with a photo that the server describes; off unless the server was started with --photo-search."""
    started = time.perf_counter()
    if not service.settings.photo_search:
        raise Refusal(
            ProblemKind.PHOTO_SEARCH_OFF,
            "This server does not describe query photos. Describe the photo with an admitted encoder and send the vector, "
            "or start the server with --photo-search.",
        )
    owned = service.gallery(gallery)
    options = _options(limit, score_threshold, max_false_match, filter_text)
    photo = await request.body()
    media_type(photo)
    name = encoder or owned.teacher.encoder_id
    path = await service.run(owned, lambda each: each.encoder_file(name))
    vector = await service.describe(path, photo)
    return await _answer(service, owned, vector[None], name, options, started, before="describe")


async def _answer(
    service: Service,
    owned: OwnedGallery,
    vectors: Vectors,
    encoder: str | None,
    options: SearchOptions,
    started: float,
    before: str = "read",
) -> Response:
    result, ready = await _found(service, owned, vectors, {encoder}, options)
    answer = SearchAnswer(
        hits=result.hits[0],
        space=owned.space,
        gallery=owned.name,
        encoder=encoder,
        index=result.index,
        exact=result.exact,
    )
    return _timed(json_answer(answer), started, ready, before)


async def _found(
    service: Service, owned: OwnedGallery, vectors: Vectors, encoders: set[str | None], options: SearchOptions
) -> tuple[SearchResult, float]:
    """Search on the gallery's thread; the result, and when it was submitted."""

    def task(gallery: Gallery) -> SearchResult:
        admitted = gallery.admitted_encoders() if encoders != {None} else []
        for encoder in encoders:
            service.check_encoder(owned, encoder, admitted)
        threshold = options.score_threshold
        if options.max_false_match is not None:
            threshold = gallery.threshold_for(next(iter(encoders)), options.max_false_match)
        return gallery.search(vectors, options.limit, threshold, options.filter)

    ready = time.perf_counter()
    return await service.run(owned, task), ready


def _options(
    limit: int, score_threshold: float | None, max_false_match: float | None, filter_text: str | None
) -> SearchOptions:
    condition = None if filter_text is None else TypeAdapter(Filter).validate_json(filter_text)
    return SearchOptions(
        limit=limit, score_threshold=score_threshold, max_false_match=max_false_match, filter=condition
    )


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported_media(received: str, expected: str) -> Refusal:
    return Refusal(
        ProblemKind.UNSUPPORTED_MEDIA,
        f"Expected a body of type {expected}, got {received[:80] or 'none'}.",
        {"expected": expected, "received": received[:80]},
    )


def _timed(response: Response, started: float, ready: float, before: str) -> Response:
    now = time.perf_counter()
    first, searched = 1000 * (ready - started), 1000 * (now - ready)
    response.headers["Server-Timing"] = f"{before};dur={first:.2f}, search;dur={searched:.2f}"
    return response
