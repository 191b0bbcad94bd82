"""`GET /metrics`: the gauges are read from the server's parts when somebody asks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import APIRouter, Response

from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery
from askew_server.http.openapi import METRICS_TEXT
from askew_server.http.state import InService, Service
from askew_server.maintenance.snapshots import Snapshots
from askew_server.observability.metrics import MEDIA_TYPE, GalleryNumbers, ServerNumbers

router = APIRouter(tags=["health"])

_PATIENCE_SECONDS = 2.0


@router.get("/metrics", response_class=Response, responses=METRICS_TEXT)
async def read_metrics(service: InService) -> Response:
    """What the server counts, in Prometheus's text format."""
    return Response(service.metrics.render(await read_numbers(service)), media_type=MEDIA_TYPE)


async def read_numbers(service: Service) -> ServerNumbers:
    """What the gauges of /metrics show; a gallery that does not answer within two seconds shows its counters only."""
    if service.state != "ok":
        return ServerNumbers(ready=False)
    owned = [service.galleries.get(name) for name in service.galleries.names()]
    running = await asyncio.to_thread(service.jobs.running)
    return ServerNumbers(
        ready=not service.is_leaving,
        galleries=list(await asyncio.gather(*(_of_gallery(service, gallery) for gallery in owned))),
        quarantined=len(service.galleries.damaged()),
        waiting_photos=service.describer.waiting,
        jobs=await asyncio.to_thread(service.jobs.counts_by_kind),
        progress={(job.kind, job.gallery): job.done / job.total for job in running if job.total},
    )


async def _of_gallery(service: Service, owned: OwnedGallery) -> GalleryNumbers:
    expected = owned.encoders.facts.expected_match_scores()
    written, deleted = owned.written_and_deleted
    numbers = GalleryNumbers(
        name=owned.name,
        waiting=owned.waiting,
        written=written,
        deleted=deleted,
        rebuilds=dict(owned.index.rebuilds),
        expected_match_scores=expected,
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            statistics = await owned.statistics()
            folder = service.galleries.folder(owned.name)
            kept = await asyncio.to_thread(Snapshots(owned.name, folder).list)
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
        snapshots=len(kept),
    )
