"""Jobs: photos sent by the thousand, a gallery described anew; their progress, and cancelling them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from askew_client.contract.jobs import Job, JobList, RedescribeEstimate, RedescribeRequest
from askew_server.auth.access import Access
from askew_server.http.middleware.guard import InAccess
from askew_server.http.openapi import PHOTOS_FORM, problems
from askew_server.http.photo_form import PhotoForm
from askew_server.http.responses import json_answer
from askew_server.http.state import InService, Service
from askew_server.jobs.describe_photos import PhotosJob, SentPhoto, keep_list
from askew_server.jobs.redescribe import RedescribeJob

router = APIRouter(tags=["jobs"])

_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Job, "description": "The job goes on in the background; `Location` is where it is told of."}
}


@router.post(
    "/v1/galleries/{gallery}/items/photos",
    status_code=202,
    response_model=Job,
    openapi_extra=PHOTOS_FORM,
    responses=problems(404, 409, 413, 415, 422, 429, 503, 507),
)
async def send_photos(request: Request, service: InService, gallery: str) -> Response:
    """Insert or replace items by their photos, described by the gallery's teacher in the background."""
    owned = service.gallery(gallery)
    await asyncio.to_thread(service.photos_job.check, owned.name)
    with service.jobs.spool() as folder:
        photos = await _received(request, service, folder)
        await asyncio.to_thread(keep_list, folder, photos)
        job = await asyncio.to_thread(
            service.jobs.submit, PhotosJob.name, gallery=owned.name, parameters={}, folder=folder
        )
    return _accepted(job)


@router.post(
    "/v1/galleries/{gallery}/redescribe",
    response_model=RedescribeEstimate,
    responses={**problems(404, 409, 422, 429, 503, 507), **_ACCEPTED},
)
async def redescribe(service: InService, gallery: str, wanted: RedescribeRequest) -> Response:
    """Describe this gallery's photos anew into a gallery of another teacher; or estimate how much work that is."""
    service.require_ready()
    work = service.redescribe_job
    default = service.settings.default_gallery
    source, target = await asyncio.to_thread(work.check, gallery, wanted.into, default)
    if wanted.estimate_only:
        return json_answer(await asyncio.to_thread(work.estimate, source, target))
    job = await asyncio.to_thread(service.jobs.submit, RedescribeJob.name, gallery=source, parameters={"into": target})
    return _accepted(job)


@router.get("/v1/jobs", response_model=JobList, responses=problems(422, 503))
async def list_jobs(
    service: InService,
    access: InAccess,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 100,
    gallery: Annotated[str | None, Query(max_length=63, description="Only this gallery's.")] = None,
) -> Response:
    """The newest jobs first, without their results."""
    service.require_ready()
    resolved = None if gallery is None else service.galleries.resolve(gallery)
    jobs = await asyncio.to_thread(service.jobs.newest, limit, resolved)
    return json_answer(JobList(jobs=[job for job in jobs if access.sees(job.gallery)]))


@router.get("/v1/jobs/{job_id}", response_model=Job, responses=problems(404, 503))
async def get_job(service: InService, access: InAccess, job_id: str) -> Response:
    """One job: its state, its progress, and its result once it is done."""
    return json_answer(await _job(service, access, job_id))


@router.post("/v1/jobs/{job_id}/cancel", response_model=Job, responses=problems(404, 409, 503))
async def cancel_job(service: InService, access: InAccess, job_id: str) -> Response:
    """Cancel a job: one that waits at once, one that runs within a second or so. What it committed stays."""
    await _job(service, access, job_id)
    return json_answer(await asyncio.to_thread(service.jobs.cancel, job_id))


async def _job(service: Service, access: Access, job_id: str) -> Job:
    """A job of a gallery that the sender may see. Raises Refusal (unknown-job, forbidden)."""
    service.require_ready()
    job = await asyncio.to_thread(service.jobs.job, job_id)
    access.require(job.gallery)
    return job


async def _received(request: Request, service: Service, folder: Path) -> list[SentPhoto]:
    settings = service.settings
    form = PhotoForm(
        folder,
        request.headers.get("content-type", ""),
        max_photos=settings.max_job_photos,
        max_payloads_bytes=settings.max_body_bytes,
    )
    try:
        async for chunk in request.stream():
            await asyncio.to_thread(form.write, chunk)
        return await asyncio.to_thread(form.finish)
    finally:
        form.close()


def _accepted(job: Job) -> Response:
    answer = json_answer(job, 202)
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return answer
