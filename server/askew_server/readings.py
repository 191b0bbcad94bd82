"""The numbers of this moment, gathered from the service's parts when the metrics are read."""

from __future__ import annotations

from askew_server.metrics import GalleryNumbers, ServerNumbers
from askew_server.service import Service


async def read_numbers(service: Service) -> ServerNumbers:
    """What the gauges of /metrics show."""
    galleries = service.galleries
    if service.state != "ok":
        return ServerNumbers(ready=False)
    return ServerNumbers(
        ready=True,
        galleries=[GalleryNumbers(name=name) for name in galleries.names()],
        quarantined=len(galleries.damaged()),
    )
