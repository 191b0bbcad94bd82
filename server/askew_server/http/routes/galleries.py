"""Galleries: list, describe, create, delete."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.common import GalleryName
from askew_client.contract.galleries import (
    CreateGalleryRequest,
    DamagedGallery,
    Deleted,
    GalleryDescription,
    GalleryList,
)
from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.encoders.gate import check_teacher
from askew_server.errors import Refusal
from askew_server.gallery.live import LiveGallery
from askew_server.http.context import InAccess
from askew_server.http.openapi import problems
from askew_server.http.receiving.bodies import TeacherBody
from askew_server.http.responses import json_answer
from askew_server.http.routing import BodyKind, filtered_by_key, make_router, of_one_gallery
from askew_server.http.state import AppState, InGallery, InState

router = make_router(prefix="/v1/galleries", tags=["galleries"])

Teacher = Annotated[bytes | CreateGalleryRequest, Depends(TeacherBody())]


@router.get("", response_model=GalleryList, responses=problems(503))
@filtered_by_key("search")
async def list_galleries(state: InState, access: InAccess) -> Response:
    """List all galleries that the key may see, by name."""
    state.require_ready()
    names = [name for name in state.galleries.names() if access.sees(name)]
    described = await asyncio.gather(*(_described(state, name) for name in names))
    damaged = [each for each in described if isinstance(each, DamagedGallery)] + [
        DamagedGallery(name=name, reason=reason)
        for name, reason in state.galleries.damaged().items()
        if access.sees(name)
    ]
    default = state.settings.default_gallery
    return json_answer(
        GalleryList(
            galleries=[each for each in described if isinstance(each, GalleryDescription)],
            default_gallery=default if access.sees(state.galleries.resolve(default)) else None,
            damaged=damaged,
        )
    )


@router.get("/{gallery}", response_model=GalleryDescription, responses=problems(404, 503))
@of_one_gallery("search")
async def describe_gallery(state: InState, gallery: InGallery) -> Response:
    """Describe one gallery: its space, teacher and size."""
    return json_answer(await _description(state, gallery))


@router.put(
    "/{gallery}",
    response_model=GalleryDescription,
    status_code=201,
    responses={
        200: {"model": GalleryDescription, "description": "It exists already."},
        **problems(409, 413, 422, 429, 507),
    },
)
@of_one_gallery("admin", body=BodyKind.ENCODER)
async def create_gallery(request: Request, state: InState, gallery: str, teacher: Teacher) -> Response:
    """Create a gallery in a teacher's space: send the teacher's file, or its manifest if it describes elsewhere."""
    state.require_ready()
    name = TypeAdapter(GalleryName).validate_python(gallery)
    if isinstance(teacher, CreateGalleryRequest):
        manifest = teacher.teacher
        live, created = await state.making.run(lambda _: state.galleries.get_or_create(name, manifest))
    else:
        file = await state.checking.run(
            lambda cancelled: check_teacher(
                teacher,
                "The file that was sent",
                max_pixels=state.settings.max_photo_pixels,
                limits=state.check_limits,
                cancelled=cancelled,
            ),
            request.receive,
        )
        live, created = await state.making.run(lambda _: state.galleries.get_or_create(name, file.manifest))
        try:
            await live.write(lambda each: each.keep_encoder(file, teacher, None))
        except Exception:
            # A gallery without its teacher's file would be half of what was asked for.
            if created:
                await state.making.run(lambda _: state.galleries.delete(name))
            raise
    return json_answer(await _description(state, live), 201 if created else 200)


@router.delete("/{gallery}", response_model=Deleted, responses=problems(404, 409, 503))
@of_one_gallery("admin")
async def delete_gallery(state: InState, access: InAccess, gallery: str) -> Response:
    """Delete a gallery with all its items, photos and encoders, also a damaged one."""
    state.require_ready()
    name = state.galleries.resolve(gallery)
    _check_unused(state, access, name)
    return json_answer(Deleted(deleted=await state.making.run(lambda _: state.galleries.delete(name))))


def _check_unused(state: AppState, access: Access, name: str) -> None:
    """Refuse to delete a gallery that searches or jobs need. Raises Refusal (gallery-in-use)."""
    is_damaged = name in state.galleries.damaged()
    if name == state.galleries.resolve(state.settings.default_gallery) and not is_damaged:
        raise Refusal(
            ProblemKind.GALLERY_IN_USE,
            f"Gallery {name!r} is the one that POST /search answers from. Start the server with another --gallery, "
            "or an alias there that names another one, first.",
        )
    tasks = state.jobs.unfinished_of(name)
    jobs = [task.id for task in tasks if all(map(access.sees, task.galleries))]
    if tasks and not jobs:
        raise Refusal(ProblemKind.GALLERY_IN_USE, f"A job works on gallery {name!r}. Try again when it has ended.")
    if jobs:
        raise Refusal(
            ProblemKind.GALLERY_IN_USE,
            f"Job {jobs[0]} works on gallery {name!r}. Wait for it, or cancel it (POST /v1/jobs/{jobs[0]}/cancel).",
            {"jobs": list(jobs)},
        )


async def _described(state: AppState, name: str) -> GalleryDescription | DamagedGallery | None:
    """A gallery of a listing; None when it was deleted since its name was listed. One that does not answer hides no other."""
    try:
        return await _description(state, state.gallery(name))
    except Refusal as error:
        if error.kind is ProblemKind.NOT_READY:
            return DamagedGallery(name=name, reason=str(error))
        if error.kind is not ProblemKind.UNKNOWN_GALLERY:
            raise
        return None


async def _description(state: AppState, gallery: LiveGallery) -> GalleryDescription:
    described = await gallery.describe()
    allowed = await asyncio.to_thread(state.offline_packs.is_allowed, gallery)
    return described.model_copy(update={"aliases": state.galleries.aliases_of(gallery.name), "offline_pack": allowed})
