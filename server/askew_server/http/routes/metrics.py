"""`GET /metrics`: collects the gauges from the server's parts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import Response

from askew_server.errors import Refusal
from askew_server.gallery.live import LiveGallery
from askew_server.http.openapi import METRICS_TEXT
from askew_server.http.routing import beyond_one_gallery, make_router
from askew_server.http.state import AppState, InState
from askew_server.maintenance.snapshots import Snapshots
from askew_server.observability.metrics import MEDIA_TYPE, GalleryNumbers, ServerNumbers

router = make_router(tags=["health"])

_PATIENCE_SECONDS = 2.0


@router.get("/metrics", response_class=Response, responses=METRICS_TEXT)
@beyond_one_gallery("admin")
async def read_metrics(state: InState) -> Response:
    """Read the metrics in Prometheus's text format."""
    return Response(state.metrics.render(await read_numbers(state)), media_type=MEDIA_TYPE)


async def read_numbers(state: AppState) -> ServerNumbers:
    """The gauges of /metrics. A gallery that does not answer within two seconds shows its counters only."""
    if state.state != "ok":
        return ServerNumbers(ready=False)
    galleries = [state.galleries.get(name) for name in state.galleries.names()]
    progress = state.replication.progress
    running = await asyncio.to_thread(state.jobs.running)
    return ServerNumbers(
        ready=not state.is_leaving,
        galleries=list(await asyncio.gather(*(_numbers_of(state, gallery) for gallery in galleries))),
        quarantined=len(state.galleries.damaged()),
        waiting_photos=state.describer.waiting,
        jobs=await asyncio.to_thread(state.jobs.counts_by_kind),
        progress={(job.kind, job.gallery): job.done / job.total for job in running if job.total},
        role=state.replication.standing.role,
        epoch=state.replication.standing.epoch,
        certificate_expires=state.certificate_expires,
        staleness=None if progress is None else progress.staleness(),
        behind={} if progress is None else {(name,): behind for name, behind in progress.behind.items()},
    )


async def _numbers_of(state: AppState, gallery: LiveGallery) -> GalleryNumbers:
    expected = gallery.encoders.facts.expected_match_scores()
    written, deleted = gallery.written_and_deleted
    rebuilds = gallery.rebuilds
    numbers = GalleryNumbers(
        name=gallery.name,
        waiting=gallery.waiting,
        written=written,
        deleted=deleted,
        rebuilds=rebuilds,
        expected_match_scores=expected,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            statistics = await gallery.statistics()
            folder = state.galleries.folder(gallery.name)
            snapshots = await state.files.run(lambda _: Snapshots(gallery.name, folder).list())
    except (TimeoutError, Refusal):
        return numbers
    return replace(
        numbers,
        vectors=statistics.vectors,
        tail=statistics.tail,
        removed=statistics.removed,
        generation=statistics.generation,
        bytes_memory=statistics.bytes_memory,
        bytes_mapped=statistics.bytes_mapped,
        snapshots=len(snapshots),
        gpu_ready=None if statistics.gpu is None else statistics.gpu.state == "ready",
        gpu_lost=0 if statistics.gpu is None else statistics.gpu.lost,
    )
