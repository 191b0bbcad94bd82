"""Traces: a span for each request with the stages of a search below it, in the trace of the caller; off by default."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from askew_client.contract.wire import pack
from askew_server.observability.tracing import Tracing
from tests.support.in_process_server import in_process_server

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def http(
    indexed: Path, exported: InMemorySpanExporter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    data = tmp_path_factory.mktemp("traced") / "data"
    shutil.copytree(indexed / "data", data)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    with in_process_server(data, tracing=Tracing(provider)) as client:
        yield client


@pytest.fixture
def exporter(http: TestClient, exported: InMemorySpanExporter) -> InMemorySpanExporter:
    """The spans of one test."""
    exported.clear()
    return exported


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_the_stages_of_a_search_lie_under_the_request_in_their_order(
    http: TestClient, exporter: InMemorySpanExporter, headers: dict[str, str], query: NDArray[np.float32]
) -> None:
    traced = {**headers, "traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "my-request"}
    assert http.post("/search", content=pack(query), headers=traced).status_code == 200
    spans = by_name(exporter)
    request = spans.pop("POST /search")
    assert request.kind is SpanKind.SERVER
    assert request.context is not None and f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None and f"{request.parent.span_id:016x}" == CALLER
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/search"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["db.collection.name"] == "objects"
    assert request.attributes["askew.request_id"] == "my-request"
    assert set(spans) == {"decode", "queue", "search", "finish"}
    edges = [request.start_time]
    for name in ("decode", "queue", "search", "finish"):
        parent = spans[name].parent
        assert parent is not None and parent.span_id == request.context.span_id
        edges += [spans[name].start_time, spans[name].end_time]
    assert [*edges, request.end_time] == sorted([*edges, request.end_time], key=lambda edge: edge or 0)


def test_a_refused_requests_span_has_the_reason_and_an_invalid_traceparent_begins_a_new_trace(
    http: TestClient, exporter: InMemorySpanExporter, body: bytes, headers: dict[str, str]
) -> None:
    foreign = {**headers, "Askew-Space": "sp1-" + "0" * 32, "traceparent": "00-nonsense"}
    assert http.post("/search", content=body, headers=foreign).status_code == 409
    request = by_name(exporter)["POST /search"]
    assert request.parent is None
    assert request.attributes is not None and request.attributes["error.type"] == "space-mismatch"
    # A refusal is the client's error, not the server's.
    assert request.status.status_code is StatusCode.UNSET


def test_no_span_holds_a_path_or_a_query(http: TestClient, exporter: InMemorySpanExporter) -> None:
    http.get("/v1/galleries/objects/items/the-secret-word?secret=the-secret-word")
    http.get("/the-secret-word")
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["GET /v1/galleries/{gallery}/items/{item_id}", "GET (none)"]
    assert "the-secret-word" not in "".join(span.to_json() for span in spans)


@pytest.mark.slow
def test_while_it_is_off_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, askew_server.http.server\n"
        "heavy = [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
