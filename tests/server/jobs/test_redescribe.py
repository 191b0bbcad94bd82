"""The day the teacher changes: estimate, describe anew beside, verify, switch, and the way back."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.jobs import ENDED_STATES
from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.jobs.kind import Task
from askew_server.jobs.redescribe import RedescribeJob
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

REDESCRIBE = "/v1/galleries/objects/redescribe"


@pytest.fixture(scope="module")
def second_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another teacher: another space, another dimension, another photo size."""
    folder = tmp_path_factory.mktemp("second")
    return make_encoder(folder / "second.onnx", role="teacher", dim=96, seed=5, photo_size=160, version="2")


@pytest.fixture(scope="module")
def second(second_file: Path) -> Encoder:
    return Encoder(second_file)


@pytest.fixture
def running(data: Path, second_file: Path) -> RunningServer:
    """A server that answers from the alias `live` of `objects`; `next` is empty and has the second teacher."""
    with RunningServer(data, "--gallery", "live") as server:
        assert server.http.put("/v1/aliases/live", json={"gallery": "objects"}).status_code == 200
        assert server.http.put("/v1/galleries/next", content=second_file.read_bytes()).status_code == 201
        yield server


def _ended(http: httpx.Client, job: dict[str, object]) -> dict[str, object]:
    deadline = time.monotonic() + 60
    while job["state"] not in ENDED_STATES and time.monotonic() < deadline:
        time.sleep(0.02)
        job = http.get(f"/v1/jobs/{job['id']}").json()
    return job


def _redescribed(http: httpx.Client) -> dict[str, object]:
    asked = http.post(REDESCRIBE, json={"into": "next"})
    assert asked.status_code == 202, asked.text
    assert asked.headers["location"] == f"/v1/jobs/{asked.json()['id']}"
    return _ended(http, asked.json())


def _headers(encoder: Encoder) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "Askew-Space": encoder.space_id, "Askew-Dtype": "f16le"}


class _Clients:
    """Clients that search through the alias all the while, as apps do: with the encoder of the space that answers.

    On 409 an app fetches the encoder of the space that is expected now, and asks again.
    """

    def __init__(self, url: str, photo: Path, encoders: list[Encoder]) -> None:
        self._url = url
        self._bodies = {each.space_id: (pack(each.encode(photo)[0]), _headers(each)) for each in encoders}
        self._wanted = photo.stem
        self._spaces = [encoders[0].space_id] * 3
        self.answers: list[tuple[int, str, str]] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(n,)) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _search(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=10) as http:
            while not self._stopped.is_set():
                body, headers = self._bodies[self._spaces[number]]
                answer = http.post("/search?limit=1", content=body, headers=headers)
                if answer.status_code == 409:
                    self._spaces[number] = answer.json()["expected"]
                    continue
                found = answer.json()
                best = found["hits"][0]["id"] if answer.status_code == 200 else answer.text
                self.answers.append((answer.status_code, found.get("gallery", ""), best))
                time.sleep(0.002)


def test_the_day_the_teacher_changes(
    running: RunningServer, teacher: Encoder, second: Encoder, photo: Path, data: Path
) -> None:
    http = running.http
    clients = _Clients(running.url, photo, [teacher, second])
    try:
        estimate = http.post(REDESCRIBE, json={"into": "next", "estimate_only": True})
        assert estimate.status_code == 200, estimate.text
        assert (estimate.json()["photos"], estimate.json()["items_without_photo"]) == (49, 0)
        assert 0 < estimate.json()["seconds"] < 60
        assert 49 * 2 * 96 < estimate.json()["bytes"] < 49 * 2_000
        assert http.get("/v1/galleries/next").json()["items"] == 0

        job = _redescribed(http)
        assert (job["state"], job["done"], job["total"]) == ("done", 49, 49), job
        assert (job["result"]["described"], job["result"]["refused"]) == (49, 0)
        verification = job["result"]["verification"]
        assert (verification["items"], verification["expected"]) == (49, 49)
        assert (verification["find_themselves"], verification["searched"]) == (49, 49)
        assert verification["described_again"] == 5
        assert verification["lowest_cosine"] > 0.9999

        switched = http.put("/v1/aliases/live", json={"gallery": "next"}).json()
        assert switched == {"alias": "live", "gallery": "next", "previous": "objects"}
        time.sleep(0.3)
        http.put("/v1/aliases/live", json={"gallery": "objects"})
        time.sleep(0.3)
        http.put("/v1/aliases/live", json={"gallery": "next"})
        time.sleep(0.3)
    finally:
        clients.stop()
    assert {(status, best) for status, _, best in clients.answers} == {(200, photo.stem)}
    galleries = [gallery for _, gallery, _ in clients.answers]
    assert set(galleries) == {"objects", "next"}
    # Every item has its payload and its photo, in the new teacher's vectors.
    for item in http.get("/v1/galleries/objects/items?limit=1000").json()["items"]:
        anew = http.get(f"/v1/galleries/live/items/{item['id']}?with_vectors=true").json()
        assert (anew["payload"], anew["photo_sha256"]) == (item["payload"], item["photo_sha256"])
        stored = np.frombuffer(base64.b64decode(anew["vector"]), dtype="<f2").astype(np.float32)
        fresh = second.encode(http.get(f"/v1/galleries/next/items/{item['id']}/photo").content)[0]
        assert float(stored @ fresh) == pytest.approx(1, abs=1e-3)
    # The photos lie on the disk once, and survive the old gallery.
    assert http.delete("/v1/galleries/objects").status_code == 200
    assert http.get(f"/v1/galleries/next/items/{photo.stem}/photo").content == photo.read_bytes()


def test_what_is_written_to_the_old_gallery_meanwhile_is_caught_up(running: RunningServer, photo: Path) -> None:
    http = running.http
    items = "/v1/galleries/objects/items"
    assert _redescribed(http)["state"] == "done"
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
    anew = {item["id"]: item for item in http.get("/v1/galleries/next/items?limit=1000").json()["items"]}
    assert set(anew) == {*ids[1:], "added"}
    assert anew[ids[1]]["payload"] == {"changed": True}


def test_items_without_a_photo_and_photos_that_cannot_be_described_are_told(
    running: RunningServer, data: Path, teacher: Encoder
) -> None:
    http = running.http
    bare = {"id": "bare", "vector": np.eye(1, 64, dtype=np.float32)[0].tolist()}
    http.put("/v1/galleries/objects/items", json={"space": teacher.space_id, "items": [bare]})
    ids = [item["id"] for item in http.get("/v1/galleries/objects/items?limit=1000").json()["items"]]
    spoiled = http.get(f"/v1/galleries/objects/items/{ids[3]}").json()["photo_sha256"]
    (path,) = (data / "galleries" / "objects" / "photos").rglob(f"{spoiled}.*")
    path.write_bytes(path.read_bytes()[:3000])
    estimate = http.post(REDESCRIBE, json={"into": "next", "estimate_only": True}).json()
    assert (estimate["photos"], estimate["items_without_photo"]) == (49, 1)
    job = _redescribed(http)
    assert job["state"] == "done", job
    assert (job["result"]["described"], job["result"]["items_without_photo"], job["result"]["refused"]) == (48, 1, 1)
    assert list(job["result"]["reasons"]) == [ids[3]]
    assert str(data) not in str(job["result"])
    assert job["result"]["verification"]["expected"] == 48


def test_it_goes_on_after_kill_9(data: Path, second_file: Path, tmp_path: Path) -> None:
    photos = {
        f"{photo.stem}-{copy}": photo.read_bytes() + bytes([copy])
        for photo in sorted((DEMO / "gallery").glob("*.jpg"))[:40]
        for copy in range(3)
    }
    with RunningServer(data) as first:
        first.http.put("/v1/galleries/next", content=second_file.read_bytes())
        files = [("photo", (name, content, "image/jpeg")) for name, content in photos.items()]
        sent = first.http.post("/v1/galleries/objects/items/photos", files=files).json()
        assert _ended(first.http, sent)["state"] == "done"
        job = first.http.post(REDESCRIBE, json={"into": "next"}).json()
        while first.http.get("/v1/galleries/next").json()["items"] < 48:
            time.sleep(0.01)
        first.kill()
    with RunningServer(data) as second:
        ended = _ended(second.http, second.http.get(f"/v1/jobs/{job['id']}").json())
        assert ended["state"] == "done", ended
        assert ended["result"]["verification"]["items"] == 49 + 120
        # Less than everything was left to do.
        assert ended["result"]["described"] <= 49 + 120 - 48


def test_a_gallery_that_does_not_stand_up_to_the_check_fails_the_job(
    running: RunningServer, second: Encoder, photo: Path
) -> None:
    http = running.http
    assert _redescribed(http)["state"] == "done"
    wrong = np.eye(1, 96, dtype=np.float32)[0]
    for item in http.get("/v1/galleries/next/items?limit=1000").json()["items"]:
        original = http.get(f"/v1/galleries/next/items/{item['id']}/photo").content
        # The same photo and payload, but a vector that its teacher did not make.
        form = {"vector": _base64(wrong), "dtype": "f32le", "space": second.space_id, "payload": _json(item["payload"])}
        sent = http.put(f"/v1/galleries/next/items/{item['id']}", data=form, files={"photo": ("photo", original)})
        assert sent.status_code == 200, sent.text
    job = _redescribed(http)
    assert job["state"] == "failed", job
    assert job["problem"]["type"] == "/problems/verification-failed"
    assert "Do not switch to it" in job["problem"]["detail"]


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


def test_photos_that_cannot_be_shared_are_copied(
    data: Path, second_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", no_links)
    galleries = Catalog(data, owner="a test")
    try:
        galleries.load()
        content = second_file.read_bytes()
        file = parse_encoder_file(content, "second")
        owned, _ = galleries.get_or_create("next", file.manifest)
        owned.run(lambda each: each.keep_encoder(file, content, None))
        task = Task("one", "objects", {"into": "next"}, data / "jobs" / "one")
        done = RedescribeJob(galleries, max_pixels=10_000_000).run(task, lambda *_: None, lambda: False)
        assert done.described == 49
        photos = list((data / "galleries" / "next" / "photos").rglob("*.jpg"))
        assert len(photos) == 49
        assert {photo.stat().st_nlink for photo in photos} == {1}
    finally:
        galleries.close()


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _json(payload: object) -> str:
    return json.dumps(payload)
