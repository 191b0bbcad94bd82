"""Snapshots of a gallery: make, list, download, verify, delete, restore into another gallery."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import Depends, Request, Response
from pydantic import TypeAdapter

from askew_client.contract.common import GalleryName
from askew_client.contract.jobs import Job
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import DeletedSnapshot, RestoreRequest, SnapshotList
from askew_server.errors import Refusal
from askew_server.http.openapi import file_answers, problems
from askew_server.http.receiving.bodies import SNAPSHOT_TYPE, SnapshotBody
from askew_server.http.responses import FileAnswer, is_known, job_answer, json_answer
from askew_server.http.routing import BodyKind, beyond_one_gallery, make_router, of_one_gallery
from askew_server.http.state import AppState, InGallery, InState
from askew_server.jobs.snapshots import UPLOAD, RestoreJob, SnapshotJob, VerifySnapshotJob
from askew_server.maintenance.snapshots import SPARE_BYTES, Snapshots

router = make_router(prefix="/v1/galleries/{gallery}", tags=["snapshots"])


@router.post("/snapshots", response_model=Job, status_code=202, responses=problems(404, 422, 429, 503, 507))
@of_one_gallery("admin")
async def create_snapshot(state: InState, gallery: InGallery) -> Response:
    """Make a snapshot of the gallery as it is now; reads and writes continue. The job's result is the Snapshot."""
    snapshots = _snapshots_of(state, gallery.name)
    await state.files.run(lambda _: snapshots.require_possible())
    return await _submitted(state, SnapshotJob.name, gallery.name, {})


@router.get("/snapshots", response_model=SnapshotList, responses=problems(404))
@of_one_gallery("admin")
async def list_snapshots(state: InState, gallery: str) -> Response:
    """List the snapshots of a gallery, the newest first; also those of a gallery that is set aside as damaged."""
    snapshots = _snapshots_of(state, gallery)
    return json_answer(SnapshotList(snapshots=await state.files.run(lambda _: snapshots.list())))


@router.get(
    "/snapshots/{snapshot}",
    response_class=FileAnswer,
    responses={**file_answers(SNAPSHOT_TYPE), **problems(404, 416)},
)
@of_one_gallery("admin")
async def get_snapshot(request: Request, state: InState, gallery: str, snapshot: str) -> Response:
    """Download a snapshot as one tar. It never changes: its ETag is its SHA-256, and Range is answered."""
    snapshots = _snapshots_of(state, gallery)
    described = await state.files.run(lambda _: snapshots.get(snapshot))
    etag = f'"{described.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    name = f"{described.gallery}-{described.name}.tar"
    return FileAnswer(snapshots.path(described.name), media_type=SNAPSHOT_TYPE, headers=headers, filename=name)


@router.delete("/snapshots/{snapshot}", response_model=DeletedSnapshot, responses=problems(404))
@of_one_gallery("admin")
async def delete_snapshot(state: InState, gallery: str, snapshot: str) -> Response:
    """Delete a snapshot."""
    snapshots = _snapshots_of(state, gallery)
    await state.files.run(lambda _: snapshots.delete(snapshot))
    return json_answer(DeletedSnapshot(deleted=snapshot))


@router.post("/snapshots/{snapshot}/verify", response_model=Job, status_code=202, responses=problems(404, 429, 507))
@of_one_gallery("admin")
async def verify_snapshot(state: InState, gallery: str, snapshot: str) -> Response:
    """Read a whole snapshot and compare every digest. The job's result is the Snapshot, or its problem says what differs."""
    snapshots = _snapshots_of(state, gallery)
    described = await state.files.run(lambda _: snapshots.get(snapshot))
    name = state.galleries.resolve(gallery)
    return await _submitted(state, VerifySnapshotJob.name, name, {"snapshot": described.name})


@router.post("/restore", response_model=Job, status_code=202, responses=problems(404, 409, 413, 415, 422, 429, 507))
@beyond_one_gallery("admin", body=BodyKind.SNAPSHOT)
async def restore(
    request: Request,
    state: InState,
    gallery: str,
    wanted: Annotated[RestoreRequest | AsyncIterator[bytes], Depends(SnapshotBody())],
) -> Response:
    """Make a gallery from a snapshot: from one that a gallery keeps (JSON), or from a file (application/x-tar).

    The name is a new one, or that of a gallery that is set aside as damaged.
    """
    state.require_ready()
    name = TypeAdapter(GalleryName).validate_python(gallery)
    state.galleries.check_free(name)
    if isinstance(wanted, RestoreRequest):
        snapshots = _snapshots_of(state, wanted.gallery)
        await state.files.run(lambda _: snapshots.get(wanted.snapshot))
        source = state.galleries.resolve(wanted.gallery)
        return await _submitted(state, RestoreJob.name, name, {"gallery": source, "snapshot": wanted.snapshot})
    stated = request.headers.get("content-length", "")
    with state.jobs.spool(name) as folder:
        await _receive(state, wanted, int(stated) if stated.isdecimal() else 0, folder / UPLOAD)
        job = await asyncio.to_thread(
            lambda: state.jobs.submit(RestoreJob.name, gallery=name, parameters={}, folder=folder)
        )
    return job_answer(job)


async def _receive(state: AppState, chunks: AsyncIterator[bytes], expected: int, path: Path) -> None:
    """Write a body to a file as it arrives; `expected`: its length where that is stated, else 0.

    Raises Refusal (would-not-fit) before the disk is full.
    """
    # It is unpacked next to the file, so twice its length is needed.
    _require_room(path, 2 * expected, expected)
    received = 0
    with path.open("xb") as stream:
        async for chunk in chunks:
            received += len(chunk)
            if not expected:
                _require_room(path, len(chunk), received)
            await state.receiving.run(partial(_write, stream, chunk))
        await state.receiving.run(lambda _: _flush(stream))


def _write(stream: BinaryIO, chunk: bytes, _: Callable[[], bool]) -> None:
    stream.write(chunk)


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _require_room(path: Path, needed: int, received: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed + SPARE_BYTES:
        raise Refusal(
            ProblemKind.WOULD_NOT_FIT,
            f"The snapshot ({received:,} bytes so far) and the gallery in it do not fit on the server's disk: {free:,} bytes "
            "are free. Free space and try again.",
            {"free": free},
        )


def _snapshots_of(state: AppState, gallery: str) -> Snapshots:
    state.require_ready()
    folder = state.galleries.folder(gallery)
    return Snapshots(folder.name, folder)


async def _submitted(state: AppState, kind: str, gallery: str, parameters: dict[str, str]) -> Response:
    job = await asyncio.to_thread(lambda: state.jobs.submit(kind, gallery=gallery, parameters=dict(parameters)))
    return job_answer(job)
