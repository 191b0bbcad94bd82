"""The index of a gallery: its state, which kind it should be, and rebuilding it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import Response

from askew_client.contract.indexes import ChooseIndexRequest, IndexDescription
from askew_client.contract.jobs import Job
from askew_server.gallery.live import LiveGallery
from askew_server.http.openapi import problems
from askew_server.http.responses import job_answer, json_answer
from askew_server.http.routing import make_router, of_one_gallery
from askew_server.http.state import InGallery, InState
from askew_server.jobs.rebuild_index import RebuildJob

router = make_router(prefix="/v1/galleries/{gallery}/index", tags=["index"])


@router.get("", response_model=IndexDescription, responses=problems(404))
@of_one_gallery("search")
async def describe_index(gallery: InGallery) -> Response:
    """Describe the index: its kind, size and recall, and what it would take."""
    return json_answer(await _describe(gallery))


@router.put("", response_model=IndexDescription, responses=problems(404, 422, 507))
@of_one_gallery("admin")
async def choose_index(gallery: InGallery, wanted: ChooseIndexRequest) -> Response:
    """Choose the kind of index. Where that changes it, it is built in the background while searches continue."""
    await gallery.write(lambda each: each.index.choose(wanted.kind))
    return json_answer(await _describe(gallery))


@router.post("/rebuild", status_code=202, response_model=Job, responses=problems(404, 429, 507))
@of_one_gallery("admin")
async def rebuild_index(state: InState, gallery: InGallery) -> Response:
    """Rebuild the index in the background, without the vectors that were removed; searches continue."""
    job = await asyncio.to_thread(state.jobs.submit, RebuildJob.name, gallery=gallery.name, parameters={})
    return job_answer(job)


async def _describe(gallery: LiveGallery) -> IndexDescription:
    status, statistics = await gallery.ask(lambda index: (index.status(), index.statistics()))
    return IndexDescription.model_validate(
        {
            **asdict(statistics),
            "gallery": gallery.name,
            "wanted": status.wanted,
            "chosen": status.chosen,
            "building": status.is_building,
            "estimate": status.estimate,
            "failure": status.failure,
        }
    )
