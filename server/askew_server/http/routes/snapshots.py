"""Snapshots of a gallery: made, listed, fetched, verified, deleted, restored into another gallery."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.common import GalleryName
from askew_client.contract.jobs import Job
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import DeletedSnapshot, RestoreRequest, Snapshot, SnapshotList
from askew_server.errors import Refusal
from askew_server.http.openapi import RESTORE_BODY, file_answers, problems
from askew_server.http.responses import FileAnswer, json_answer
from askew_server.http.state import InService, Service
from askew_server.jobs.snapshots import UPLOAD, RestoreJob, SnapshotJob, VerifySnapshotJob
from askew_server.maintenance.snapshots import SPARE_BYTES, Snapshots

MEDIA_TYPE = "application/x-tar"

router = APIRouter(prefix="/v1/galleries/{gallery}", tags=["snapshots"])


@router.post("/snapshots", response_model=Job, status_code=202, responses=problems(404, 429, 503, 507))
async def create_snapshot(service: InService, gallery: str) -> Response:
    """Make a snapshot of the gallery as it is now; reads and writes go on. The job's result is the Snapshot."""
    name = service.gallery(gallery).name
    return await _submitted(service, SnapshotJob.name, name, {})


@router.get("/snapshots", response_model=SnapshotList, responses=problems(404))
async def list_snapshots(service: InService, gallery: str) -> Response:
    """The snapshots that a gallery keeps, the newest first; also those of a gallery that is set aside as damaged."""
    kept = _kept(service, gallery)
    return json_answer(SnapshotList(snapshots=await asyncio.to_thread(kept.list)))


@router.get(
    "/snapshots/{snapshot}",
    response_class=FileAnswer,
    responses={**file_answers(MEDIA_TYPE), **problems(404, 416)},
)
async def get_snapshot(request: Request, service: InService, gallery: str, snapshot: str) -> Response:
    """The snapshot as one tar. It never changes: its ETag is its SHA-256, and Range is answered."""
    kept = _kept(service, gallery)
    described: Snapshot = await asyncio.to_thread(kept.get, snapshot)
    etag = f'"{described.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    name = f"{described.gallery}-{described.name}.tar"
    return FileAnswer(kept.path(described.name), media_type=MEDIA_TYPE, headers=headers, filename=name)


@router.delete("/snapshots/{snapshot}", response_model=DeletedSnapshot, responses=problems(404))
async def delete_snapshot(service: InService, gallery: str, snapshot: str) -> Response:
    """Delete a snapshot."""
    await asyncio.to_thread(_kept(service, gallery).delete, snapshot)
    return json_answer(DeletedSnapshot(deleted=snapshot))


@router.post("/snapshots/{snapshot}/verify", response_model=Job, status_code=202, responses=problems(404, 429, 507))
async def verify_snapshot(service: InService, gallery: str, snapshot: str) -> Response:
    """Read a whole snapshot and compare every digest. The job's result is the Snapshot, or its problem says what differs."""
    kept = _kept(service, gallery)
    described: Snapshot = await asyncio.to_thread(kept.get, snapshot)
    name = service.galleries.resolve(gallery)
    return await _submitted(service, VerifySnapshotJob.name, name, {"snapshot": described.name})


@router.post(
    "/restore",
    response_model=Job,
    status_code=202,
    openapi_extra=RESTORE_BODY,
    responses=problems(404, 409, 413, 415, 422, 429, 507),
)
async def restore(request: Request, service: InService, gallery: str) -> Response:
    """Make a gallery of a snapshot: of one that a gallery keeps (JSON), or of a file (application/x-tar).

    The name is a new one, or that of a gallery that is set aside as damaged.
    """
    service.require_ready()
    name = TypeAdapter(GalleryName).validate_python(gallery)
    service.galleries.refuse_taken(name)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        wanted = RestoreRequest.model_validate_json(await request.body())
        kept = _kept(service, wanted.gallery)
        await asyncio.to_thread(kept.get, wanted.snapshot)
        source = service.galleries.resolve(wanted.gallery)
        parameters = {"gallery": source, "snapshot": wanted.snapshot}
        return await _submitted(service, RestoreJob.name, name, parameters)
    if content_type != MEDIA_TYPE:
        raise Refusal(
            ProblemKind.UNSUPPORTED_MEDIA,
            f"Expected a snapshot file as {MEDIA_TYPE}, or application/json that names one, got {content_type[:80] or 'none'}.",
            {"received": content_type[:80]},
        )
    with service.jobs.spool() as folder:
        await _receive(request, folder / UPLOAD)
        job = await asyncio.to_thread(
            lambda: service.jobs.submit(RestoreJob.name, gallery=name, parameters={}, folder=folder)
        )
    return _accepted(job)


async def _receive(request: Request, path: Path) -> None:
    """Write the body to a file as it comes. Raises Refusal (would-not-fit) before the disk is full."""
    stated = request.headers.get("content-length", "")
    expected = int(stated) if stated.isdecimal() else 0
    # It is unpacked beside the file, so that twice its length is needed.
    _require_room(path, 2 * expected, expected)
    received = 0
    with path.open("xb") as stream:
        async for chunk in request.stream():
            received += len(chunk)
            if not expected:
                _require_room(path, len(chunk), received)
            await asyncio.to_thread(stream.write, chunk)
        await asyncio.to_thread(stream.flush)
        await asyncio.to_thread(os.fsync, stream.fileno())


def _require_room(path: Path, needed: int, received: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed + SPARE_BYTES:
        raise Refusal(
            ProblemKind.WOULD_NOT_FIT,
            f"The snapshot ({received:,} bytes so far) and the gallery in it do not fit on the server's disk: {free:,} bytes "
            "are free. Free space and try again.",
            {"free": free},
        )


def _kept(service: Service, gallery: str) -> Snapshots:
    service.require_ready()
    folder = service.galleries.folder(gallery)
    return Snapshots(folder.name, folder)


async def _submitted(service: Service, kind: str, gallery: str, parameters: dict[str, str]) -> Response:
    job = await asyncio.to_thread(lambda: service.jobs.submit(kind, gallery=gallery, parameters=dict(parameters)))
    return _accepted(job)


def _accepted(job: Job) -> Response:
    answer = json_answer(job, 202)
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return answer
