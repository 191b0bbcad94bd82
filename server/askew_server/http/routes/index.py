"""The index of a gallery: what it is, which kind it should be, and building it anew."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Response

from askew_client.contract.indexes import ChooseIndexRequest, IndexDescription
from askew_client.contract.jobs import Job
from askew_server.gallery.live import OwnedGallery
from askew_server.http.openapi import problems
from askew_server.http.responses import json_answer
from askew_server.http.state import InService
from askew_server.jobs.rebuild_index import RebuildJob

router = APIRouter(prefix="/v1/galleries/{gallery}/index", tags=["index"])


@router.get("", response_model=IndexDescription, responses=problems(404))
async def describe_index(service: InService, gallery: str) -> Response:
    """The kind and size of the index, its recall, and what it would take."""
    return json_answer(await asyncio.to_thread(_describe, service.gallery(gallery)))


@router.put("", response_model=IndexDescription, responses=problems(404, 422, 507))
async def choose_index(service: InService, gallery: str, wanted: ChooseIndexRequest) -> Response:
    """Choose the kind of index; where that changes it, it is built in the background, and searches go on."""
    owned = service.gallery(gallery)
    await service.run(owned, lambda each: each.index.want(each.store, wanted.kind))
    return json_answer(await asyncio.to_thread(_describe, owned))


@router.post("/rebuild", status_code=202, response_model=Job, responses=problems(404, 429, 507))
async def rebuild_index(service: InService, gallery: str) -> Response:
    """Build the index anew in the background, without what was removed; searches go on."""
    owned = service.gallery(gallery)
    job = await asyncio.to_thread(service.jobs.submit, RebuildJob.name, gallery=owned.name, parameters={})
    answer = json_answer(job, 202)
    answer.headers["Location"] = f"/v1/jobs/{job.id}"
    return answer


def _describe(owned: OwnedGallery) -> IndexDescription:
    index = owned.index
    chosen = asdict(index.chosen())
    told = {
        "gallery": owned.name,
        "wanted": index.wanted(),
        "chosen": chosen["kind"],
        "building": index.is_building,
        "estimate": chosen,
        "failure": index.failure,
    }
    return IndexDescription.model_validate({**told, **asdict(index.statistics())})
