"""Galleries: list, describe, create."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.schemas import CreateGalleryRequest, GalleryDescription, GalleryList, GalleryName
from askew_server.admission import check_teacher, read_candidate
from askew_server.answers import json_answer
from askew_server.gallery import Gallery
from askew_server.openapi import GALLERY_BODY, problems
from askew_server.service import InService

router = APIRouter(prefix="/v1/galleries", tags=["galleries"])


@router.get("", response_model=GalleryList, responses=problems(503))
async def list_galleries(service: InService) -> Response:
    """All galleries, by name."""
    service.require_ready()
    owned = [service.galleries.get(name) for name in service.galleries.names()]
    described = [await service.run(gallery, Gallery.describe) for gallery in owned]
    return json_answer(GalleryList(galleries=described, default_gallery=service.settings.default_gallery))


@router.get("/{gallery}", response_model=GalleryDescription, responses=problems(404, 503))
async def describe_gallery(service: InService, gallery: str) -> Response:
    """One gallery: its space, teacher and size."""
    return json_answer(await service.run(service.gallery(gallery), Gallery.describe))


@router.put(
    "/{gallery}",
    response_model=GalleryDescription,
    status_code=201,
    openapi_extra=GALLERY_BODY,
    responses=problems(409, 413, 422, 507),
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
    return json_answer(await service.run(owned, Gallery.describe), 201 if created else 200)
