"""Jobs: photos sent by the thousand, a gallery re-described, an alias's teacher changed; their progress, and cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from pydantic import JsonValue

from askew_client.contract.common import GalleryName
from askew_client.contract.jobs import (
    ChangeTeacherEstimate,
    ChangeTeacherRequest,
    Job,
    JobList,
    RedescribeEstimate,
    RedescribeRequest,
)
from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.errors import Refusal
from askew_server.http.context import InAccess, InContext
from askew_server.http.openapi import problems
from askew_server.http.receiving.photo_form import PhotoForm
from askew_server.http.receiving.photo_upload import PhotoFormStream
from askew_server.http.responses import job_answer, job_of, json_answer
from askew_server.http.routing import BodyKind, beyond_one_gallery, filtered_by_key, make_router, of_one_gallery
from askew_server.http.state import AppState, InGallery, InState
from askew_server.jobs.change_teacher import ChangeTeacherJob
from askew_server.jobs.describe_photos import PhotosJob, SentPhoto, write_photo_list
from askew_server.jobs.redescribe import RedescribeJob

router = make_router(tags=["jobs"])

_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Job, "description": "The job runs in the background; `Location` is its address."}
}


@router.post(
    "/v1/galleries/{gallery}/items/photos",
    status_code=202,
    response_model=Job,
    responses=problems(404, 409, 413, 415, 422, 429, 503, 507),
)
@of_one_gallery("write", body=BodyKind.JOB_PHOTOS)
async def send_photos(
    state: InState,
    context: InContext,
    access: InAccess,
    gallery: InGallery,
    request: Annotated[Request, Depends(PhotoFormStream())],
) -> Response:
    """Insert or replace items by their photos, described by the gallery's teacher in the background."""
    await asyncio.to_thread(state.photos_job.check, gallery.name)
    # The name that was used: what was sent to an alias follows it, as far as the key reaches.
    named: dict[str, JsonValue] = {
        "name": context.match.named or state.settings.default_gallery,
        "only": None if access.listed is None else list(access.listed),
    }
    with state.jobs.spool(gallery.name) as folder:
        photos = await _received(request, state, folder)
        await state.receiving.run(lambda _: write_photo_list(folder, photos))
        job = await asyncio.to_thread(
            state.jobs.submit, PhotosJob.name, gallery=gallery.name, parameters=named, folder=folder
        )
    return job_answer(job)


@router.post(
    "/v1/galleries/{gallery}/redescribe",
    response_model=RedescribeEstimate,
    responses={**problems(404, 409, 422, 429, 503, 507), **_ACCEPTED},
)
@beyond_one_gallery("admin")
async def redescribe(request: Request, state: InState, gallery: str, wanted: RedescribeRequest) -> Response:
    """Re-describe this gallery's photos into a gallery of another teacher; or estimate how much work that is."""
    state.require_ready()
    work = state.redescribe_job
    default = state.settings.default_gallery
    source, target = await state.making.run(lambda _: work.check(gallery, wanted.into, default))
    if wanted.estimate_only:
        return json_answer(
            await state.checking.run(lambda cancelled: work.estimate(source, target, cancelled), request.receive)
        )
    await asyncio.to_thread(_require_none, state, RedescribeJob.name, source, target)
    job = await asyncio.to_thread(state.jobs.submit, RedescribeJob.name, gallery=source, parameters={"into": target})
    return job_answer(job)


@router.post(
    "/v1/aliases/{alias}/change-teacher",
    response_model=ChangeTeacherEstimate,
    responses={**problems(404, 409, 422, 429, 503, 507), **_ACCEPTED},
)
@beyond_one_gallery("admin")
async def change_teacher(
    request: Request, state: InState, alias: GalleryName, wanted: ChangeTeacherRequest
) -> Response:
    """Describe an alias's gallery with the teacher of another one, into that one, and switch the alias; or estimate that.

    The same request again returns the job while it is unfinished.
    """
    state.require_ready()
    work = state.change_teacher_job
    default = state.settings.default_gallery
    source, target = await state.making.run(lambda _: work.check(alias, wanted, default))
    if wanted.estimate_only:
        return json_answer(
            await state.checking.run(lambda cancelled: work.estimate(alias, source, target, cancelled), request.receive)
        )
    await asyncio.to_thread(_require_none, state, ChangeTeacherJob.name, source, target)
    options = wanted.model_dump(include={"accept_loss", "hold_seconds", "switch"})
    job = await asyncio.to_thread(
        state.jobs.submit_once,
        ChangeTeacherJob.name,
        gallery=source,
        joins_running=True,
        parameters={"alias": alias, "into": target, **options},
    )
    return job_answer(job)


@router.get("/v1/jobs", response_model=JobList, responses=problems(422, 503))
@filtered_by_key("write")
async def list_jobs(
    request: Request,
    state: InState,
    access: InAccess,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
    gallery: Annotated[str | None, Query(max_length=63, description="Only this gallery's.")] = None,
) -> Response:
    """List the newest jobs first, without their results."""
    state.require_ready()
    resolved = None if gallery is None else state.galleries.resolve(gallery)
    jobs = await asyncio.to_thread(state.jobs.newest, limit, resolved, access.galleries)
    return json_answer(JobList(jobs=[job_of(job, request) for job in jobs]))


@router.get("/v1/jobs/{job_id}", response_model=Job, responses=problems(404, 503))
@filtered_by_key("write")
async def get_job(request: Request, state: InState, access: InAccess, job_id: str) -> Response:
    """Read one job: its state, its progress, and its result once it is done."""
    return json_answer(job_of(await _job(state, access, job_id), request))


@router.post("/v1/jobs/{job_id}/cancel", response_model=Job, responses=problems(404, 409, 503))
@filtered_by_key("write")
async def cancel_job(request: Request, state: InState, access: InAccess, job_id: str) -> Response:
    """Cancel a job: at once if it is waiting, within about a second if it is running. Committed items stay."""
    await _job(state, access, job_id)
    return json_answer(job_of(await asyncio.to_thread(state.jobs.cancel, job_id), request))


async def _job(state: AppState, access: Access, job_id: str) -> Job:
    """A job of galleries that the sender may see. Raises Refusal (unknown-job)."""
    state.require_ready()
    return await asyncio.to_thread(state.jobs.job, job_id, access.galleries)


def _require_none(state: AppState, wanted: str, source: str, target: str) -> None:
    """Two jobs must not fill one gallery, nor two kinds of them describe one. Raises Refusal (job-conflict)."""
    for kind in (RedescribeJob.name, ChangeTeacherJob.name):
        for task in state.jobs.unfinished_tasks(kind):
            # The same kind from the same gallery: they run one after the other, and the second has less to do.
            if kind == wanted and task.gallery == source:
                continue
            shared = source if task.gallery == source else target if task.parameters["into"] == target else None
            if shared is not None:
                raise Refusal(
                    ProblemKind.JOB_CONFLICT,
                    f"Job {task.id} ({kind}) works on gallery {shared!r}. Wait for it, or cancel it (POST "
                    f"/v1/jobs/{task.id}/cancel).",
                    {"state": state.jobs.job(task.id).state},
                )


async def _received(request: Request, state: AppState, folder: Path) -> list[SentPhoto]:
    settings = state.settings
    form = PhotoForm(
        folder,
        request.headers.get("content-type", ""),
        max_photos=settings.max_job_photos,
        max_payloads_bytes=settings.max_body_bytes,
    )
    try:
        async for chunk in request.stream():
            await state.receiving.run(partial(_write, form, chunk))
        return await state.receiving.run(lambda _: form.finish())
    finally:
        form.close()


def _write(form: PhotoForm, chunk: bytes, _: Callable[[], bool]) -> None:
    form.write(chunk)
