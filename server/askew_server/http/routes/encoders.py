"""Encoders: admission, which are admitted, which fits a device, their manifests and files."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends, Query, Request, Response

from askew_client.contract.encoders import DefaultEncoderRequest, EncoderDescription, EncoderList, Runtime
from askew_server.auth.access import Access
from askew_server.encoders.gate import admit
from askew_server.encoders.selection import all_encoders, best_encoder, find_encoder
from askew_server.gallery.live import LiveGallery
from askew_server.http.context import InAccess
from askew_server.http.openapi import file_answers, problems
from askew_server.http.receiving.bodies import EncoderBody
from askew_server.http.responses import FileAnswer, is_known, json_answer
from askew_server.http.routing import BodyKind, filtered_by_key, make_router, of_one_gallery
from askew_server.http.state import AppState, InGallery, InState

router = make_router(tags=["encoders"])

OfGallery = Annotated[
    str | None, Query(description="Of this gallery; without it, of whichever gallery admitted it last.")
]
_FILE_TYPE = "application/octet-stream"


@router.post(
    "/v1/galleries/{gallery}/encoders",
    response_model=EncoderDescription,
    status_code=201,
    responses=problems(404, 409, 413, 422, 429, 507),
)
@of_one_gallery("admin", body=BodyKind.ENCODER)
async def admit_encoder(
    request: Request, state: InState, gallery: InGallery, content: Annotated[bytes, Depends(EncoderBody())]
) -> Response:
    """Admit a student: it must land in the gallery's space. The answer, or the refusal, carries the gate's report."""
    description = await state.checking.run(
        lambda cancelled: admit(
            gallery,
            content,
            "The file that was sent",
            max_pixels=state.settings.max_photo_pixels,
            limits=state.check_limits,
            cancelled=cancelled,
        ),
        request.receive,
    )
    return json_answer(description, 201)


@router.delete(
    "/v1/galleries/{gallery}/encoders/{encoder_id}",
    response_model=EncoderDescription,
    responses=problems(404, 409, 507),
)
@of_one_gallery("admin")
async def retire_encoder(gallery: InGallery, encoder_id: str) -> Response:
    """Retire a student: its queries are refused from now on with the names of its successors, and its file is removed."""
    return json_answer(await gallery.write(lambda each: each.encoders.retire(encoder_id)))


@router.put(
    "/v1/galleries/{gallery}/encoders/{encoder_id}/default",
    response_model=EncoderDescription,
    responses=problems(404, 422, 507),
)
@of_one_gallery("admin")
async def set_default_encoder(gallery: InGallery, encoder_id: str, wanted: DefaultEncoderRequest) -> Response:
    """Make an encoder the choice for a runtime; it replaces the previous choice."""
    return json_answer(await gallery.write(lambda each: each.encoders.set_default(encoder_id, wanted.runtime)))


@router.get("/v1/encoders", response_model=EncoderList, responses=problems(503))
@filtered_by_key("search")
async def list_encoders(state: InState, access: InAccess) -> Response:
    """List all encoders of all galleries, newest first."""
    return json_answer(EncoderList(encoders=[encoder for encoder, _ in _encoders(state, access)]))


@router.get("/v1/encoders/best", response_model=EncoderDescription, responses=problems(403, 404, 422, 503))
@of_one_gallery("search")
async def get_best_encoder(
    request: Request,
    gallery: InGallery,
    runtime: Annotated[Runtime | None, Query(description="What will run it.")] = None,
    max_bytes: Annotated[int | None, Query(gt=0, description="The largest file.")] = None,
    max_milliseconds: Annotated[
        float | None, Query(gt=0, description="The slowest, for one photo, as the gate measured it on the server.")
    ] = None,
) -> Response:
    """Find the encoder for a device: the runtime's default if it fits, else the one with the best recall@10 that does."""
    facts = gallery.encoders.facts
    best = best_encoder(facts, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds)
    answer = json_answer(best)
    headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(answer.body).hexdigest()}"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    answer.headers.update(headers)
    return answer


@router.get("/v1/encoders/{encoder_id}", response_model=EncoderDescription, responses=problems(404, 503))
@filtered_by_key("search")
async def describe_encoder(state: InState, access: InAccess, encoder_id: str, gallery: OfGallery = None) -> Response:
    """Describe one encoder, with the report of its admission."""
    return json_answer(_encoder(state, access, encoder_id, gallery)[0])


@router.get("/v1/encoders/{encoder_id}/manifest", responses=problems(404, 503))
@filtered_by_key("search")
async def get_manifest(
    request: Request, state: InState, access: InAccess, encoder_id: str, gallery: OfGallery = None
) -> Response:
    """Read the manifest as JSON, for runtimes that cannot read it from the file."""
    description, live = _encoder(state, access, encoder_id, gallery)
    headers = {"ETag": f'"{description.sha256}"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    manifest = live.encoders.facts.manifests[description.id]
    return Response(manifest, media_type="application/json", headers=headers)


@router.head("/v1/encoders/{encoder_id}/file", include_in_schema=False)
@router.get(
    "/v1/encoders/{encoder_id}/file",
    response_class=FileAnswer,
    responses={**file_answers(_FILE_TYPE), **problems(404, 416, 503)},
)
@filtered_by_key("search")
async def get_file(
    request: Request, state: InState, access: InAccess, encoder_id: str, gallery: OfGallery = None
) -> Response:
    """Download the ONNX file. It never changes: its ETag is its self-digest, and Range is answered."""
    description, live = _encoder(state, access, encoder_id, gallery)
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{description.sha256}"'}
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileAnswer(live.encoders.facts.file(description.id), media_type=_FILE_TYPE, headers=headers)


def _encoder(
    state: AppState, access: Access, encoder_id: str, gallery: str | None
) -> tuple[EncoderDescription, LiveGallery]:
    encoders = _encoders(state, access)
    if gallery is not None:
        # Before it is looked up, so that an unknown gallery and one that the key may not see are refused alike.
        access.require(state.galleries.resolve(gallery), gallery)
        name = state.gallery(gallery).name
        encoders = [pair for pair in encoders if name in pair[0].galleries]
    return find_encoder(encoders, encoder_id)


def _encoders(state: AppState, access: Access) -> list[tuple[EncoderDescription, LiveGallery]]:
    state.require_ready()
    names = filter(access.sees, state.galleries.names())
    return all_encoders(state.galleries.get(name) for name in names)
