"""Whether a server lives and is ready: what probes ask, without a key."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.settings import Settings
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer


def test_a_ready_server_reports_how_many_galleries_it_serves(server: RunningServer) -> None:
    assert server.http.get("/readyz").json() == {
        "status": "ok",
        "version": "0.2.0",
        "galleries": 1,
        "quarantined": 0,
        "warnings": [],
    }
    assert server.http.get("/version").json() == {"name": "askew", "version": "0.2.0", "api": "v1"}
    for path in ("/healthz", "/livez"):
        assert server.http.get(path).json()["status"] == "ok"
        assert server.http.head(path).status_code == 200
    assert server.http.head("/readyz").status_code == 200


@pytest.mark.slow
def test_a_damaged_gallery_leaves_the_server_ready_and_is_counted(data: Path) -> None:
    shutil.copytree(data / "galleries/objects", data / "galleries/broken")
    (data / "galleries/broken/gallery.db").write_bytes(b"no database" * 1000)
    with RunningServer(data, "--gallery", "objects") as running:
        ready = running.http.get("/readyz")
        assert (ready.status_code, ready.json()["galleries"], ready.json()["quarantined"]) == (200, 1, 1)
        assert 'askew_galleries{state="quarantined"} 1.0' in running.http.get("/metrics").text


def test_a_server_that_loads_lives_and_is_not_ready(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_load, load = threading.Event(), Catalog.load

    def slow_load(galleries: Catalog) -> None:
        may_load.wait(20)
        load(galleries)

    monkeypatch.setattr(Catalog, "load", slow_load)
    service = AppState(Settings(data=data, default_gallery="objects"), Catalog(data, owner="a test"))
    with TestClient(create_app(service)) as client:
        assert client.get("/livez").json()["status"] == "loading"
        problem = assert_problem(client.get("/readyz"), 503, "not-ready", "loading")
        assert problem["title"]
        assert "askew_ready 0.0" in client.get("/metrics").text
        may_load.set()
        deadline = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "askew_ready 1.0" in client.get("/metrics").text


@pytest.mark.slow
def test_a_draining_server_reports_that_and_still_answers(
    data: Path, body: bytes, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKEW_DRAIN_SECONDS", "3")
    with RunningServer(data, "--gallery", "objects") as running:
        running.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        ready: httpx.Response = running.http.get("/readyz")
        while ready.status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.02)
            ready = running.http.get("/readyz")
        assert_problem(ready, 503, "not-ready", "draining")
        assert running.http.get("/livez").status_code == 200
        assert running.http.post("/search", content=body, headers=headers).status_code == 200


@pytest.mark.slow
def test_every_answer_has_its_total_time_and_searches_the_time_of_each_stage(
    server: RunningServer, body: bytes, headers: dict[str, str], photo: Path
) -> None:
    def names(answer: httpx.Response) -> list[str]:
        parts = answer.headers["server-timing"].split(", ")
        assert all(float(part.partition(";dur=")[2]) >= 0 for part in parts)
        return [part.partition(";")[0] for part in parts]

    stages = ["decode", "queue", "search", "finish", "total"]
    assert names(server.http.post("/search", content=body, headers=headers)) == stages
    sent = server.http.post("/search/photo", content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"})
    assert names(sent) == ["describe", "queue", "search", "finish", "total"]
    assert names(server.http.get("/v1/galleries")) == ["total"]
    assert names(server.http.get("/nowhere")) == ["total"]
