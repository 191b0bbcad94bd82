"""Galleries: list, describe, create, delete."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.aliases import Deleted
from askew_client.contract.common import GalleryName
from askew_client.contract.galleries import CreateGalleryRequest, DamagedGallery, GalleryDescription, GalleryList
from askew_client.contract.problems import ProblemKind
from askew_server.encoders.gate import check_teacher, read_candidate
from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery
from askew_server.http.middleware.guard import InAccess
from askew_server.http.openapi import GALLERY_BODY, problems
from askew_server.http.responses import json_answer
from askew_server.http.state import InService, Service

router = APIRouter(prefix="/v1/galleries", tags=["galleries"])


@router.get("", response_model=GalleryList, responses=problems(503))
async def list_galleries(service: InService, access: InAccess) -> Response:
    """All galleries that the key may see, by name."""
    service.require_ready()
    names = [name for name in service.galleries.names() if access.sees(name)]
    described = await asyncio.gather(*(_described(service, name) for name in names))
    damaged = [
        DamagedGallery(name=name, reason=reason)
        for name, reason in service.galleries.damaged().items()
        if access.sees(name)
    ]
    return json_answer(
        GalleryList(
            galleries=[gallery for gallery in described if gallery is not None],
            default_gallery=service.settings.default_gallery,
            damaged=damaged,
        )
    )


@router.get("/{gallery}", response_model=GalleryDescription, responses=problems(404, 503))
async def describe_gallery(service: InService, gallery: str) -> Response:
    """One gallery: its space, teacher and size."""
    return json_answer(await _description(service, service.gallery(gallery)))


@router.put(
    "/{gallery}",
    response_model=GalleryDescription,
    status_code=201,
    openapi_extra=GALLERY_BODY,
    responses={200: {"model": GalleryDescription, "description": "It exists already."}, **problems(409, 413, 422, 507)},
)
async def create_gallery(request: Request, service: InService, gallery: str) -> Response:
    """Create a gallery in a teacher's space: send the teacher's file, or its manifest if it describes elsewhere."""
    service.require_ready()
    name = TypeAdapter(GalleryName).validate_python(gallery)
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        teacher = CreateGalleryRequest.model_validate_json(body).teacher
        owned, created = await service.get_or_create_gallery(name, teacher)
    else:
        file = read_candidate(body, "The file that was sent")
        await asyncio.to_thread(check_teacher, body, max_pixels=service.settings.max_photo_pixels)
        owned, created = await service.get_or_create_gallery(name, file.manifest)
        await service.run(owned, lambda each: each.keep_encoder(file, body, None))
    return json_answer(await _description(service, owned), 201 if created else 200)


@router.delete("/{gallery}", response_model=Deleted, responses=problems(404, 409, 503))
async def delete_gallery(service: InService, gallery: str) -> Response:
    """Delete a gallery with all its items, photos and encoders, also a damaged one."""
    return json_answer(Deleted(deleted=await service.delete_gallery(gallery)))


async def _described(service: Service, name: str) -> GalleryDescription | None:
    """A gallery of a listing; None when it was deleted meanwhile."""
    try:
        return await _description(service, service.gallery(name))
    except Refusal as error:
        if error.kind is not ProblemKind.UNKNOWN_GALLERY:
            raise
        return None


async def _description(service: Service, gallery: OwnedGallery) -> GalleryDescription:
    described = await gallery.describe()
    return described.model_copy(update={"aliases": service.galleries.aliases_of(gallery.name)})
