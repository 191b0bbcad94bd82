"""Encoders: the gate, which are admitted, which fits a device, their manifests and files."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from askew_client.contract.encoders import DefaultEncoderRequest, EncoderDescription, EncoderList, Runtime
from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.encoders.gate import admit
from askew_server.encoders.selection import best_encoder, kept_encoder, kept_encoders
from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery
from askew_server.http.middleware.guard import InAccess
from askew_server.http.openapi import ENCODER_BODY, file_answers, problems
from askew_server.http.responses import FileAnswer, json_answer
from askew_server.http.state import InService, Service

router = APIRouter(tags=["encoders"])

OfGallery = Annotated[
    str | None, Query(description="Of this gallery; without it, of whichever gallery admitted it last.")
]


@router.post(
    "/v1/galleries/{gallery}/encoders",
    response_model=EncoderDescription,
    status_code=201,
    openapi_extra=ENCODER_BODY,
    responses=problems(404, 409, 413, 422, 429, 507),
)
async def admit_encoder(request: Request, service: InService, gallery: str) -> Response:
    """Admit a student: it must land in the gallery's space. The answer, or the refusal, carries the gate's report."""
    owned = service.gallery(gallery)
    content = await request.body()
    pixels = service.settings.max_photo_pixels
    description = await asyncio.to_thread(admit, owned, content, "The file that was sent", max_pixels=pixels)
    return json_answer(description, 201)


@router.delete(
    "/v1/galleries/{gallery}/encoders/{encoder_id}",
    response_model=EncoderDescription,
    responses=problems(404, 409, 507),
)
async def retire_encoder(service: InService, gallery: str, encoder_id: str) -> Response:
    """Retire a student: from now on its queries are refused with the names of its successors, and its file is gone."""
    owned = service.gallery(gallery)
    return json_answer(await service.run(owned, lambda each: each.encoders.retire(encoder_id)))


@router.put(
    "/v1/galleries/{gallery}/encoders/{encoder_id}/default",
    response_model=EncoderDescription,
    responses=problems(404, 422, 507),
)
async def set_default_encoder(
    service: InService, gallery: str, encoder_id: str, wanted: DefaultEncoderRequest
) -> Response:
    """Make an encoder the choice for a runtime, in the place of the one before."""
    owned = service.gallery(gallery)
    return json_answer(await service.run(owned, lambda each: each.encoders.set_default(encoder_id, wanted.runtime)))


@router.get("/v1/encoders", response_model=EncoderList, responses=problems(503))
async def list_encoders(service: InService, access: InAccess) -> Response:
    """All encoders that galleries keep, newest first."""
    return json_answer(EncoderList(encoders=[encoder for encoder, _ in _encoders(service, access)]))


@router.get("/v1/encoders/best", response_model=EncoderDescription, responses=problems(403, 404, 422, 503))
async def get_best_encoder(
    request: Request,
    service: InService,
    access: InAccess,
    gallery: Annotated[
        str | None, Query(description="The gallery that is searched; the default one if absent.")
    ] = None,
    runtime: Annotated[Runtime | None, Query(description="What will run it.")] = None,
    max_bytes: Annotated[int | None, Query(gt=0, description="The largest file.")] = None,
    max_milliseconds: Annotated[
        float | None, Query(gt=0, description="The slowest, for one photo, as the gate measured it on the server.")
    ] = None,
) -> Response:
    """The encoder for a device: the runtime's default if it fits, else the one with the best recall@10 that does."""
    owned = service.gallery(gallery)
    _check_access(access, owned)
    best = best_encoder(owned.encoders.facts, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds)
    answer = json_answer(best)
    etag = f'"{hashlib.sha256(answer.body).hexdigest()}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    if _is_known(request, etag):
        return Response(status_code=304, headers=headers)
    answer.headers.update(headers)
    return answer


@router.get("/v1/encoders/{encoder_id}", response_model=EncoderDescription, responses=problems(404, 503))
async def describe_encoder(
    service: InService, access: InAccess, encoder_id: str, gallery: OfGallery = None
) -> Response:
    """One encoder, with the report of its admission."""
    return json_answer(_encoder(service, access, encoder_id, gallery)[0])


@router.get("/v1/encoders/{encoder_id}/manifest", responses=problems(404, 503))
async def get_manifest(
    request: Request, service: InService, access: InAccess, encoder_id: str, gallery: OfGallery = None
) -> Response:
    """The manifest as JSON, for runtimes that cannot read it out of the file."""
    description, owned = _encoder(service, access, encoder_id, gallery)
    headers = {"ETag": f'"{description.sha256}"'}
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    manifest = owned.encoders.facts.manifests[description.id]
    return Response(manifest, media_type="application/json", headers=headers)


@router.head("/v1/encoders/{encoder_id}/file", include_in_schema=False)
@router.get(
    "/v1/encoders/{encoder_id}/file",
    response_class=FileAnswer,
    responses={**file_answers("application/octet-stream"), **problems(404, 416, 503)},
)
async def get_file(
    request: Request, service: InService, access: InAccess, encoder_id: str, gallery: OfGallery = None
) -> Response:
    """The ONNX file. It never changes: its ETag is its self-digest, and Range is answered."""
    description, owned = _encoder(service, access, encoder_id, gallery)
    etag = f'"{description.sha256}"'
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": etag}
    if _is_known(request, etag):
        return Response(status_code=304, headers=headers)
    path = owned.encoders.facts.file(description.id)
    return FileAnswer(path, media_type="application/octet-stream", headers=headers)


def _is_known(request: Request, etag: str) -> bool:
    """Whether the sender has what it asks for already."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in known


def _check_access(access: Access, owned: OwnedGallery) -> None:
    if not access.sees(owned.name):
        raise Refusal(ProblemKind.FORBIDDEN, f"The key is limited to other galleries than {owned.name!r}.")


def _encoder(
    service: Service, access: Access, encoder_id: str, gallery: str | None
) -> tuple[EncoderDescription, OwnedGallery]:
    encoders = _encoders(service, access)
    if gallery is not None:
        name = service.gallery(gallery).name
        encoders = [pair for pair in encoders if name in pair[0].galleries]
    return kept_encoder(encoders, encoder_id)


def _encoders(service: Service, access: Access) -> list[tuple[EncoderDescription, OwnedGallery]]:
    service.require_ready()
    names = filter(access.sees, service.galleries.names())
    return kept_encoders(service.galleries.get(name) for name in names)
