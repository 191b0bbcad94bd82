"""The probe set of a gallery: photos with the teacher's vectors, which the gate shows to every candidate."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import TypeAdapter
from starlette.datastructures import UploadFile

from askew_client.contract.common import ItemId
from askew_client.contract.encoders import Probe, ProbeList, ProbeRemoved
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import unpack_json
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type, read_photo
from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery
from askew_server.http.openapi import PROBE_BODY, problems
from askew_server.http.responses import json_answer
from askew_server.http.state import InService, Service

router = APIRouter(prefix="/v1/galleries/{gallery}/probes", tags=["encoders"])

_MOST_FORM_PARTS = 8


@router.get("", response_model=ProbeList, responses=problems(404))
async def list_probes(service: InService, gallery: str) -> Response:
    """The probe set, by id, and how many probes the gate needs to use it."""
    return json_answer(await service.run(service.gallery(gallery), lambda each: each.probes.listed()))


@router.put(
    "/{probe_id}",
    response_model=Probe,
    openapi_extra=PROBE_BODY,
    responses=problems(404, 409, 413, 415, 422, 429, 507),
)
async def put_probe(request: Request, service: InService, gallery: str, probe_id: str) -> Response:
    """Add a photo to the probe set; the gallery's teacher describes it unless a vector comes along."""
    owned = service.gallery(gallery)
    identity = TypeAdapter(ItemId).validate_python(unquote(probe_id))
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        photo, vector = await _of_form(request, service, owned)
    elif content_type.startswith("image/"):
        photo = await request.body()
        media_type(photo)
        vector = await _described(service, owned, photo)
    else:
        raise Refusal(
            ProblemKind.UNSUPPORTED_MEDIA,
            f"Expected a photo (image/jpeg, image/png, image/webp) or multipart/form-data, got {content_type[:80] or 'none'}.",
            {"received": content_type[:80]},
        )
    suffix = SUFFIX_BY_MEDIA_TYPE[media_type(photo)]
    return json_answer(await service.run(owned, lambda each: each.probes.put(identity, vector, photo, suffix)))


@router.delete("/{probe_id}", response_model=ProbeRemoved, responses=problems(404, 507))
async def remove_probe(service: InService, gallery: str, probe_id: str) -> Response:
    """Remove a photo from the probe set."""
    identity = unquote(probe_id)
    await service.run(service.gallery(gallery), lambda each: each.probes.remove(identity))
    return json_answer(ProbeRemoved(deleted=identity))


async def _of_form(request: Request, service: Service, owned: OwnedGallery) -> tuple[bytes, NDArray[np.float32]]:
    async with request.form(max_files=1, max_fields=_MOST_FORM_PARTS, max_part_size=1_000_000) as form:
        part = form.get("photo")
        if not isinstance(part, UploadFile):
            raise Refusal(ProblemKind.VALIDATION, "Expected the form to have a file `photo`.")
        photo = await part.read()
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
    media_type(photo)
    if "vector" not in texts:
        return photo, await _described(service, owned, photo)
    await service.check_space(owned, texts.get("space"))
    vector = unpack_json(texts["vector"], texts.get("dtype"), owned.dim)
    # A photo that no candidate can read would count against them all.
    await asyncio.to_thread(read_photo, photo, max_pixels=service.settings.max_photo_pixels)
    return photo, vector


async def _described(service: Service, owned: OwnedGallery, photo: bytes) -> NDArray[np.float32]:
    teacher = owned.encoders.facts.teacher_file
    if teacher is None:
        raise Refusal(
            ProblemKind.CANNOT_DESCRIBE,
            f"Gallery {owned.name!r} keeps no file of its teacher {owned.teacher.encoder_id}, so the server cannot describe "
            "photos for it. Send the vector with the photo, as `askew probes add --encoder TEACHER` does.",
        )
    return await service.describe(teacher, photo)
