"""The probe set of a gallery: photos with the teacher's vectors, which the gate shows to every candidate."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.common import ItemId
from askew_client.contract.encoders import Probe, ProbeList, ProbeRemoved
from askew_client.encoding.photos import read_photo
from askew_server.http.description import vector_of_upload
from askew_server.http.openapi import problems
from askew_server.http.receiving.photo_upload import PhotoUpload, PhotoUploadBody
from askew_server.http.responses import json_answer
from askew_server.http.routing import make_router, of_one_gallery
from askew_server.http.state import InGallery, InState

router = make_router(prefix="/v1/galleries/{gallery}/probes", tags=["encoders"])

ProbeUpload = Annotated[PhotoUpload, Depends(PhotoUploadBody(with_payload=False))]


@router.get("", response_model=ProbeList, responses=problems(404))
@of_one_gallery("admin")
async def list_probes(gallery: InGallery) -> Response:
    """List the probe set by id, and how many probes the gate needs before it uses them."""
    return json_answer(await gallery.write(lambda each: each.probes.describe_all()))


@router.put("/{probe_id}", response_model=Probe, responses=problems(404, 409, 413, 415, 422, 429, 507))
@of_one_gallery("admin")
async def put_probe(
    request: Request, state: InState, gallery: InGallery, probe_id: str, upload: ProbeUpload
) -> Response:
    """Add a photo to the probe set; the gallery's teacher describes it unless a vector comes along."""
    identity = TypeAdapter(ItemId).validate_python(unquote(probe_id))
    vector = await vector_of_upload(state, gallery, upload, request.receive)
    if upload.has_vector:
        # A photo that no candidate can read would count against all of them.
        pixels = state.settings.max_photo_pixels
        await state.checking.run(lambda _: read_photo(upload.photo, max_pixels=pixels), request.receive)
    put = await gallery.write(lambda each: each.probes.put(identity, vector, upload.photo, upload.suffix))
    return json_answer(put)


@router.delete("/{probe_id}", response_model=ProbeRemoved, responses=problems(404, 507))
@of_one_gallery("admin")
async def remove_probe(gallery: InGallery, probe_id: str) -> Response:
    """Remove a photo from the probe set."""
    identity = unquote(probe_id)
    await gallery.write(lambda each: each.probes.remove(identity))
    return json_answer(ProbeRemoved(deleted=identity))
