"""A server inside the test's own process, for what cannot be seen from outside: spans, for example."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.observability.tracing import Tracing
from askew_server.settings import Settings


@contextmanager
def in_process_server(
    data: Path, *, tracing: Tracing | None = None, request_seconds: float = 120
) -> Iterator[TestClient]:
    """A client of the app over DATA, ready to answer; the default gallery is `objects`."""
    settings = Settings(data=data, default_gallery="objects", request_seconds=request_seconds)
    service = AppState(settings, Catalog(data, owner="a test"))
    with TestClient(create_app(service, tracing)) as client:
        deadline = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.02)
        yield client
