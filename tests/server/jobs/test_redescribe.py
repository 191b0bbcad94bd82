"""A new teacher: estimate, re-describe into another gallery, verify, switch, and switch back."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.jobs.kind import Task
from askew_server.jobs.redescribe import RedescribeJob
from askew_server.processes import Limits
from askew_server.storage.items import StoredItem
from tests.server.jobs.conftest import PHOTOS
from tests.support.gallery_files import described, unit_vector, write_gallery
from tests.support.job_waiting import DEADLINE, wait_for_accepted, wait_for_job
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.searching_clients import SearchingClients

REDESCRIBE = "/v1/galleries/objects/redescribe"


@pytest.fixture
def data(two_galleries: Path) -> Path:
    return two_galleries


@pytest.fixture
def photo(old_photo: Path) -> Path:
    return old_photo


@pytest.fixture
def running(data: Path) -> Iterator[RunningServer]:
    """A server that answers from the alias `live`."""
    with RunningServer(data, "--gallery", "live") as server:
        yield server


def _redescribed(http: httpx.Client) -> dict[str, Any]:
    return wait_for_accepted(http, http.post(REDESCRIBE, json={"into": "next"}))


@pytest.mark.slow
def test_a_new_teacher_takes_over_while_clients_search(
    running: RunningServer, teacher: Encoder, second: Encoder, photo: Path
) -> None:
    http = running.http
    clients = SearchingClients(running.url, photo, [teacher, second])
    try:
        estimate = http.post(REDESCRIBE, json={"into": "next", "estimate_only": True})
        assert estimate.status_code == 200, estimate.text
        assert (estimate.json()["photos"], estimate.json()["items_without_photo"]) == (PHOTOS, 0)
        assert 0 <= estimate.json()["seconds"] < 600
        assert PHOTOS * 2 * 96 < estimate.json()["bytes"] < PHOTOS * 2_000
        assert http.get("/v1/galleries/next").json()["items"] == 0

        job = _redescribed(http)
        assert (job["state"], job["done"], job["total"]) == ("done", PHOTOS, PHOTOS), job
        assert (job["result"]["described"], job["result"]["refused"]) == (PHOTOS, 0)
        verification = job["result"]["verification"]
        assert (verification["items"], verification["expected"]) == (PHOTOS, PHOTOS)
        assert (verification["find_themselves"], verification["searched"]) == (PHOTOS, PHOTOS)
        assert verification["described_again"] == 5
        assert verification["lowest_cosine"] > 0.9999

        switched = http.put("/v1/aliases/live", json={"gallery": "next"}).json()
        assert switched == {"alias": "live", "gallery": "next", "previous": "objects"}
        clients.wait_for_answers_from("next")
        http.put("/v1/aliases/live", json={"gallery": "objects"})
        clients.wait_for_answers_from("objects")
        http.put("/v1/aliases/live", json={"gallery": "next"})
        clients.wait_for_answers_from("next")
    finally:
        clients.stop()
    assert {(status, best) for _, status, _, best in clients.answers} == {(200, photo.stem)}
    assert {gallery for _, _, gallery, _ in clients.answers} == {"objects", "next"}
    # Every item has its payload and its photo, in the new teacher's vectors.
    for item in http.get("/v1/galleries/objects/items?limit=1000").json()["items"]:
        new = http.get(f"/v1/galleries/live/items/{item['id']}?with_vectors=true").json()
        assert (new["payload"], new["photo_sha256"]) == (item["payload"], item["photo_sha256"])
        stored = np.frombuffer(base64.b64decode(new["vector"]), dtype="<f2").astype(np.float32)
        fresh = second.encode(http.get(f"/v1/galleries/next/items/{item['id']}/photo").content)
        assert float(stored @ fresh) == pytest.approx(1, abs=1e-3)
    # The photos are on the disk once, and survive the old gallery.
    assert http.delete("/v1/galleries/objects").status_code == 200
    assert http.get(f"/v1/galleries/next/items/{photo.stem}/photo").content == photo.read_bytes()


def _fill_next(data: Path, second_file: Path, items: list[StoredItem]) -> None:
    """Fill the gallery `next` as an earlier job would have."""
    write_gallery(data, "next", second_file, items)
    (data / "galleries" / "next" / "redescribed-from.json").write_text(json.dumps({"gallery": "objects"}))


@pytest.mark.slow
def test_what_is_written_to_the_old_gallery_is_caught_up(
    data: Path, chosen: list[Path], second: Encoder, second_file: Path, photo: Path
) -> None:
    _fill_next(data, second_file, described(second, chosen))
    with RunningServer(data, "--gallery", "live") as server:
        http = server.http
        items = "/v1/galleries/objects/items"
        ids = [item["id"] for item in http.get(f"{items}?limit=1000").json()["items"]]
        jpeg = {"Content-Type": "image/jpeg"}
        other = sorted((DEMO / "gallery").glob("*.jpg"))[1].read_bytes()
        http.delete(f"{items}/{ids[0]}")
        http.put(f"{items}/{ids[1]}", content=other, headers=jpeg, params={"payload": '{"changed": true}'})
        http.put(f"{items}/added", content=photo.read_bytes() + b"!", headers=jpeg)
        again = http.post(REDESCRIBE, json={"into": "next", "estimate_only": True}).json()
        assert again["photos"] == 2
        job = _redescribed(http)
        assert (job["result"]["described"], job["result"]["deleted"]) == (2, 1)
        new = {item["id"]: item for item in http.get("/v1/galleries/next/items?limit=1000").json()["items"]}
        assert set(new) == {*ids[1:], "added"}
        assert new[ids[1]]["payload"] == {"changed": True}


@pytest.mark.slow
def test_items_without_a_photo_and_photos_that_cannot_be_described_are_reported(
    running: RunningServer, data: Path, teacher: Encoder
) -> None:
    http = running.http
    bare = {"id": "bare", "vector": np.eye(1, 64, dtype=np.float32)[0].tolist()}
    http.put("/v1/galleries/objects/items", json={"space": teacher.space_id, "items": [bare]})
    ids = [item["id"] for item in http.get("/v1/galleries/objects/items?limit=1000").json()["items"]]
    spoiled = http.get(f"/v1/galleries/objects/items/{ids[3]}").json()["photo_sha256"]
    (path,) = (data / "galleries" / "objects" / "photos").rglob(f"{spoiled}.*")
    path.write_bytes(path.read_bytes()[:2000])
    estimate = http.post(REDESCRIBE, json={"into": "next", "estimate_only": True}).json()
    assert (estimate["photos"], estimate["items_without_photo"]) == (PHOTOS, 1)
    job = _redescribed(http)
    assert job["state"] == "done", job
    assert (job["result"]["described"], job["result"]["items_without_photo"], job["result"]["refused"]) == (
        PHOTOS - 1,
        1,
        1,
    )
    assert list(job["result"]["reasons"]) == [ids[3]]
    assert str(data) not in str(job["result"])
    assert job["result"]["verification"]["expected"] == PHOTOS - 1


@pytest.mark.slow
def test_it_continues_after_kill_9(chosen: list[Path], teacher_file: Path, second_file: Path, tmp_path: Path) -> None:
    """The old gallery's vectors do not matter, so they are random ones."""
    data = tmp_path / "data"
    count = 150
    items = [
        StoredItem(f"{n}", unit_vector(n), {}, (chosen[n % PHOTOS].read_bytes() + n.to_bytes(2, "big"), ".jpg"))
        for n in range(count)
    ]
    write_gallery(data, "objects", teacher_file, items)
    write_gallery(data, "next", second_file)
    with RunningServer(data) as first:
        job = first.http.post(REDESCRIBE, json={"into": "next"}).json()
        deadline = time.monotonic() + DEADLINE
        while first.http.get("/v1/galleries/next").json()["items"] < 48:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        first.kill()
    with RunningServer(data) as second:
        ended = wait_for_job(second.http, job["id"])
        assert ended["state"] == "done", ended
        assert ended["result"]["verification"]["items"] == count
        # Less than everything was left to do.
        assert ended["result"]["described"] <= count - 48


@pytest.mark.slow
def test_a_gallery_that_fails_the_verification_fails_the_job(
    data: Path, chosen: list[Path], second: Encoder, second_file: Path
) -> None:
    # The same photos and payloads, but vectors that the teacher did not make.
    wrong = [replace(item, vector=unit_vector(7, dim=96)) for item in described(second, chosen)]
    _fill_next(data, second_file, wrong)
    with RunningServer(data, "--gallery", "live") as server:
        job = _redescribed(server.http)
    assert job["state"] == "failed", job
    assert job["problem"]["type"] == "/problems/verification-failed"
    assert "Do not switch to it" in job["problem"]["detail"]
    assert job["problem"]["verification"]["lowest_cosine"] < 0.9


def test_what_may_not_be_filled_is_refused(running: RunningServer, teacher: Encoder, second: Encoder) -> None:
    http = running.http

    def ask(into: str, gallery: str = "objects") -> httpx.Response:
        return http.post(f"/v1/galleries/{gallery}/redescribe", json={"into": into})

    assert_problem(ask("none"), 404, "unknown-gallery", "'none'")
    assert_problem(ask("next", "none"), 404, "unknown-gallery")
    assert_problem(ask("objects"), 409, "gallery-conflict", "into itself")
    assert_problem(ask("live"), 409, "gallery-conflict", "into itself")
    assert_problem(ask("objects", "next"), 409, "gallery-in-use", "default")
    http.put("/v1/aliases/named", json={"gallery": "next"})
    assert_problem(ask("next"), 409, "gallery-in-use", "'named'")
    http.delete("/v1/aliases/named")
    manifest = second.manifest.model_dump(mode="json", exclude_none=True)
    http.put("/v1/galleries/bare", json={"teacher": manifest})
    assert_problem(ask("bare"), 409, "cannot-describe", "PUT /v1/galleries/NAME")
    item = {"id": "mine", "vector": np.eye(1, 96, dtype=np.float32)[0].tolist()}
    http.put("/v1/galleries/next/items", json={"space": second.space_id, "items": [item]})
    assert_problem(ask("next"), 409, "gallery-conflict", "empty gallery")
    assert http.get("/v1/galleries/next/items/mine").status_code == 200
    assert http.get("/v1/jobs").json() == {"jobs": []}


@pytest.mark.slow
def test_photos_that_cannot_be_shared_are_copied(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", no_links)
    galleries = Catalog(data, owner="a test")
    try:
        galleries.load()
        task = Task("one", "objects", {"into": "next"}, data / "jobs" / "one")
        done = RedescribeJob(galleries, max_pixels=10_000_000, limits=Limits()).run(
            task, lambda *_: None, lambda: False
        )
        assert done.described == PHOTOS
        photos = list((data / "galleries" / "next" / "photos").rglob("*.jpg"))
        assert len(photos) == PHOTOS
        assert {photo.stat().st_nlink for photo in photos} == {1}
    finally:
        galleries.close()
