"""Encoders: which are admitted, their manifests and files, and the gate."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from askew_client.contract.problems import ProblemKind
from askew_client.contract.schemas import EncoderDescription, EncoderList
from askew_server.admission import admit
from askew_server.answers import json_answer
from askew_server.errors import Refusal
from askew_server.openapi import ENCODER_BODY, problems
from askew_server.owned import OwnedGallery
from askew_server.service import InService, Service

router = APIRouter(tags=["encoders"])


@router.post(
    "/v1/galleries/{gallery}/encoders",
    response_model=EncoderDescription,
    status_code=201,
    openapi_extra=ENCODER_BODY,
    responses=problems(404, 409, 413, 422, 507),
)
async def admit_encoder(request: Request, service: InService, gallery: str) -> Response:
    """Admit a student: it must land in the gallery's space. The answer, or the refusal, carries the gate's report."""
    owned = service.gallery(gallery)
    content = await request.body()
    pixels = service.settings.max_photo_pixels
    description = await asyncio.to_thread(admit, owned, content, "The file that was sent", max_pixels=pixels)
    return json_answer(description, 201)


@router.get("/v1/encoders", response_model=EncoderList, responses=problems(503))
async def list_encoders(service: InService) -> Response:
    """All encoders that galleries keep, newest first."""
    return json_answer(EncoderList(encoders=[encoder for encoder, _ in await _encoders(service)]))


@router.get("/v1/encoders/{encoder_id}", response_model=EncoderDescription, responses=problems(404, 503))
async def describe_encoder(service: InService, encoder_id: str) -> Response:
    """One encoder, with the report of its admission."""
    return json_answer((await _encoder(service, encoder_id))[0])


@router.get("/v1/encoders/{encoder_id}/manifest", responses=problems(404, 503))
async def get_manifest(service: InService, encoder_id: str) -> Response:
    """The manifest as JSON, for runtimes that cannot read it out of the file."""
    description, owned = await _encoder(service, encoder_id)
    manifest = owned.encoders.facts.manifests[description.id]
    return Response(manifest, media_type="application/json", headers={"ETag": f'"{description.sha256}"'})


@router.get("/v1/encoders/{encoder_id}/file", response_class=FileResponse, responses=problems(404, 503))
async def get_file(request: Request, service: InService, encoder_id: str) -> Response:
    """The ONNX file. It never changes: its ETag is its self-digest, and Range is answered."""
    description, owned = await _encoder(service, encoder_id)
    etag = f'"{description.sha256}"'
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    path = owned.encoders.facts.file(description.id)
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


async def _encoder(service: Service, encoder_id: str) -> tuple[EncoderDescription, OwnedGallery]:
    encoders = await _encoders(service)
    for encoder, owned in encoders:
        if encoder.id == encoder_id:
            return encoder, owned
    known = ", ".join(encoder.id for encoder, _ in encoders) or "none"
    raise Refusal(ProblemKind.UNKNOWN_ENCODER, f"There is no encoder {encoder_id[:140]!r}. Known: {known}.")


async def _encoders(service: Service) -> list[tuple[EncoderDescription, OwnedGallery]]:
    """Each encoder once, with the names of all galleries that keep it, and one of these galleries."""
    service.require_ready()
    found: dict[tuple[str, str], tuple[EncoderDescription, OwnedGallery]] = {}
    for name in service.galleries.names():
        owned = service.galleries.get(name)
        for encoder in owned.encoders.facts.encoders:
            known = found.get((encoder.id, encoder.sha256))
            if known is not None:
                known[0].galleries.append(name)
            else:
                found[encoder.id, encoder.sha256] = (encoder.model_copy(update={"galleries": [name]}), owned)
    return sorted(found.values(), key=lambda pair: pair[0].admitted_at, reverse=True)
