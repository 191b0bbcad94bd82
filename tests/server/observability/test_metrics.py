"""GET /metrics: what it counts, and that requests cannot make it grow without bound."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from askew_client.contract.keys import CreateKeyRequest
from askew_client.encoding.encoder import Encoder
from askew_server.auth.keys import KeyStore
from askew_server.observability.metrics import NO_NAME, GalleryNumbers, Metrics, ServerNumbers
from tests.support.in_process_server import in_process_server
from tests.support.running_server import RunningServer

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(server: RunningServer) -> Series:
    answer = server.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return parse(answer.text)


def parse(text: str) -> Series:
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def value(series: Series, name: str, **labels: str) -> float:
    return series.get((name, frozenset(labels.items())), 0.0)


@contextmanager
def changes(server: RunningServer) -> Iterator[Series]:
    """By how much each series changed inside; those that did not change are left out. Filled at the end."""
    before, found = read(server), Series()
    yield found
    differences = {key: now - before.get(key, 0.0) for key, now in read(server).items()}
    found.update({key: difference for key, difference in differences.items() if difference})


def test_a_search_is_counted_with_its_stages_its_encoder_and_its_best_score(
    server: RunningServer, headers: dict[str, str], body: bytes, teacher: Encoder
) -> None:
    encoder = teacher.manifest.encoder_id
    with changes(server) as changed:
        for _ in range(3):
            answer = server.http.post("/search?limit=2", content=body, headers=headers | {"Askew-Encoder": encoder})
    top = answer.json()["hits"][0]["score"]
    assert value(changed, "askew_searches_total", gallery="objects", outcome="ok") == 3
    for stage in ("decode", "queue", "search", "finish"):
        assert value(changed, "askew_search_duration_seconds_count", gallery="objects", stage=stage) == 3, stage
        assert 0 < value(changed, "askew_search_duration_seconds_sum", gallery="objects", stage=stage) < 30
    assert value(changed, "askew_top1_score_count", gallery="objects", encoder=encoder) == 3
    assert value(changed, "askew_top1_score_sum", gallery="objects", encoder=encoder) == pytest.approx(3 * top)
    assert value(changed, "askew_search_batch_size_sum", gallery="objects") == 3
    assert value(changed, "askew_http_requests_total", method="POST", route="/search", status="200") == 3


def test_a_filtered_search_does_not_count_for_drift(
    server: RunningServer, headers: dict[str, str], body: bytes
) -> None:
    condition = json.dumps({"field": "kind", "eq": "object"})
    with changes(server) as changed:
        answer = server.http.post("/search", params={"filter": condition}, content=body, headers=headers)
    assert answer.status_code == 200
    assert value(changed, "askew_searches_total", gallery="objects", outcome="ok") == 1
    assert not [name for name, _ in changed if name.startswith("askew_top1_score")]


def test_refused_searches_are_counted_by_their_problem(
    server: RunningServer, headers: dict[str, str], body: bytes
) -> None:
    foreign = headers | {"Askew-Space": "sp1-" + "0" * 32}
    nameless = {name: text for name, text in headers.items() if name != "Askew-Space"}
    with changes(server) as changed:
        assert server.http.post("/search", content=body, headers=foreign).status_code == 409
        assert server.http.post("/search", content=body, headers=nameless).status_code == 422
        assert server.http.post("/search", content=body[:-2], headers=headers).status_code == 422
    assert value(changed, "askew_space_rejections_total", gallery="objects", reason="mismatch") == 1
    assert value(changed, "askew_space_rejections_total", gallery="objects", reason="missing") == 1
    outcomes = {
        dict(labels)["outcome"]: count for (name, labels), count in changed.items() if name == "askew_searches_total"
    }
    assert outcomes == {"space-mismatch": 1, "space-missing": 1, "dimension-mismatch": 1}


def test_the_gallery_and_the_process_are_measured(server: RunningServer, teacher: Encoder) -> None:
    vector = np.eye(1, 64, dtype=np.float32)[0].tolist()
    items = [{"id": f"new-{number}", "vector": vector} for number in range(5)]
    upsert = {"space": teacher.space_id, "items": items}
    with changes(server) as changed:
        assert server.http.put("/v1/galleries/objects/items", json=upsert).status_code == 200
        assert server.http.delete("/v1/galleries/objects/items/new-0").status_code == 200
    assert value(changed, "askew_index_vectors", gallery="objects") == 4
    assert value(changed, "askew_items_written_total", gallery="objects") == 5
    assert value(changed, "askew_items_deleted_total", gallery="objects") == 1
    now = read(server)
    assert value(now, "askew_index_vectors", gallery="objects") >= 49 + 4
    assert value(now, "askew_index_bytes", gallery="objects", where="memory") > 0
    assert value(now, "askew_queue_depth", gallery="objects") == 0
    assert value(now, "askew_ready") == 1
    assert value(now, "askew_galleries", state="ok") == 1
    assert value(now, "process_resident_memory_bytes") > 1_000_000
    assert [dict(labels)["version"] for name, labels in now if name == "askew_build_info"] == ["0.2.0"]


@pytest.mark.slow
def test_jobs_snapshots_and_items_that_jobs_write_are_counted(server: RunningServer, photos: list[Path]) -> None:
    gallery = "/v1/galleries/objects"
    form = [("photo", (f"from-a-job-{number}", photo.read_bytes())) for number, photo in enumerate(photos[:2])]
    with changes(server) as changed:
        wait_for(server, server.http.post(f"{gallery}/items/photos", files=form))
        wait_for(server, server.http.post(f"{gallery}/snapshots"))
    assert value(changed, "askew_items_written_total", gallery="objects") == 2
    assert value(changed, "askew_snapshots", gallery="objects") == 1
    done = {dict(labels)["kind"] for (name, labels), count in changed.items() if name == "askew_jobs" and count == 1}
    assert done == {"photos", "snapshot"}
    assert value(changed, "askew_jobs", kind="photos", state="done") == 1


def wait_for(server: RunningServer, accepted: httpx.Response) -> None:
    assert accepted.status_code == 202, accepted.text
    job, deadline = accepted.json(), time.monotonic() + 120
    while job["state"] != "done":
        assert job["state"] in {"waiting", "running"} and time.monotonic() < deadline, job
        time.sleep(0.05)
        job = server.http.get(f"/v1/jobs/{job['id']}").json()


def test_requests_beyond_the_rate_of_a_key_are_counted_under_its_id(data: Path) -> None:
    with closing(KeyStore(data)) as keys:
        admin = keys.create(CreateKeyRequest(name="admin", scopes=["admin"]))
        # One request now, and the next in 1,000 seconds.
        slow = keys.create(CreateKeyRequest(name="slow", scopes=["search"], requests_per_second=0.001))
    with in_process_server(data) as http:
        statuses = [http.get("/v1/galleries", headers=_bearer(slow.key)).status_code for _ in range(8)]
        assert statuses == [200, *[429] * 7]
        assert http.get("/metrics").status_code == 401
        text = http.get("/metrics", headers=_bearer(admin.key)).text
    assert value(parse(text), "askew_rate_limited_total", key=slow.id) == 7
    assert slow.key not in text


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.slow
def test_hostile_names_add_no_series(
    server: RunningServer, headers: dict[str, str], body: bytes, teacher: Encoder
) -> None:
    def hostile(number: int) -> None:
        name, http = f"hostile-{number}", server.http
        match number % 8:
            case 0:
                http.post(f"/v1/galleries/{name}/search", content=body, headers=headers)
            case 1:
                http.post("/search", content=body, headers=headers | {"Askew-Encoder": name, "X-Request-Id": name})
            case 2:
                http.post("/search", content=body, headers=headers | {"Askew-Space": name, "Askew-Dtype": name})
            case 3:
                http.get(f"/{name}/{name}?{name}={name}")
            case 4:
                http.get(f"/v1/galleries/objects/items/{name}")
            case 5:
                http.get(f"/v1/encoders/{name}")
            case 6:
                http.get("/v1/galleries", headers={"Authorization": f"Bearer {name}"})
            case _:
                http.request(f"M{number}", "/search")

    read(server)
    for number in range(8):
        hostile(number)
    before = read(server)
    for number in range(8, 240):
        hostile(number)
    after = read(server)
    assert set(after) == set(before)
    assert value(after, "askew_searches_total", gallery=NO_NAME, outcome="unknown-gallery") == 30
    assert value(after, "askew_http_requests_total", method="GET", route=NO_NAME, status="404") == 30


def test_two_apps_in_one_process_count_apart() -> None:
    first, second = Metrics("1"), Metrics("1")
    first.search_ended("objects", "ok", [])
    assert b"askew_searches_total{" in first.render(ServerNumbers(ready=True, galleries=[GalleryNumbers("objects")]))
    assert b"askew_searches_total{" not in second.render(ServerNumbers(ready=True))


def test_rebuilds_are_counted_by_how_they_ended() -> None:
    gallery = GalleryNumbers("objects", rebuilds={"ok": 2, "failed": 1})
    series = parse(Metrics("1").render(ServerNumbers(ready=True, galleries=[gallery])).decode())
    assert value(series, "askew_index_rebuilds_total", gallery="objects", outcome="ok") == 2
    assert value(series, "askew_index_rebuilds_total", gallery="objects", outcome="failed") == 1


def test_the_series_of_a_gallery_go_with_it() -> None:
    metrics = Metrics("1")
    metrics.search_ended("objects", "ok", [("queue", 0.1)])
    metrics.top_score("objects", None, 0.5)
    there = metrics.render(ServerNumbers(ready=True, galleries=[GalleryNumbers("objects")])).decode()
    gone = metrics.render(ServerNumbers(ready=True, galleries=[GalleryNumbers("another")])).decode()
    assert 'gallery="objects"' in there
    assert 'gallery="objects"' not in gone
