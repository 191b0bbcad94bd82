"""Snapshots: one file that is the gallery at one moment, and nothing else is ever restored."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from problem_shape import assert_problem
from running_server import RunningServer

from askew_client.contract.wire import pack_base64

OBJECTS = "/v1/galleries/objects"


def _unit(seed: int) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _item(identity: str, seed: int) -> dict[str, object]:
    return {"id": identity, "vector": pack_base64(_unit(seed)), "dtype": "f16le", "payload": {"seed": seed}}


def ended(http: httpx.Client, answer: httpx.Response) -> dict[str, object]:
    """The job that was accepted, when it has ended."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job: dict[str, object] = http.get(answer.headers["location"]).json()
        if job["state"] not in {"waiting", "running"}:
            return job
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def _done(http: httpx.Client, answer: httpx.Response) -> dict[str, object]:
    job = ended(http, answer)
    assert job["state"] == "done", job
    result = job["result"]
    assert isinstance(result, dict)
    return result


def _contents(http: httpx.Client, gallery: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    cursor = ""
    while True:
        page = http.get(f"/v1/galleries/{gallery}/items?with_vectors=true&limit=1000{cursor}").json()
        found += page["items"]
        if page.get("next_cursor") is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_a_snapshot_is_made_fetched_verified_and_restored_while_the_server_serves(
    data: Path, tmp_path: Path, headers: dict[str, str], body: bytes
) -> None:
    with RunningServer(data, "--gallery", "objects") as server:
        http = server.http
        snapshot = _done(http, http.post(f"{OBJECTS}/snapshots"))
        assert (snapshot["gallery"], snapshot["items"], snapshot["photos"]) == ("objects", 49, 49)
        assert http.get(f"{OBJECTS}/snapshots").json() == {"snapshots": [snapshot]}
        assert _done(http, http.post(f"{OBJECTS}/snapshots/{snapshot['name']}/verify")) == snapshot

        url = f"{OBJECTS}/snapshots/{snapshot['name']}"
        whole = http.get(url)
        assert hashlib.sha256(whole.content).hexdigest() == snapshot["sha256"]
        assert whole.headers["etag"] == f'"{snapshot["sha256"]}"'
        part = http.get(url, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, whole.content[1000:2000])
        assert http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304

        before = _contents(http, "objects")
        http.put(f"{OBJECTS}/items", json={"space": headers["Askew-Space"], "items": [_item("later", 1)]})
        kept = {"gallery": "objects", "snapshot": snapshot["name"]}
        assert _done(http, http.post("/v1/galleries/kept/restore", json=kept))["items"] == 49
        sent = http.post(
            "/v1/galleries/sent/restore", content=whole.content, headers={"Content-Type": "application/x-tar"}
        )
        assert _done(http, sent)["items"] == 49
        for name in ("kept", "sent"):
            assert _contents(http, name) == before
            first = http.post(f"/v1/galleries/{name}/search", content=body, headers=headers).json()["hits"][0]
            photo = http.get(f"/v1/galleries/{name}/items/{first['id']}/photo")
            assert photo.content == http.get(f"{OBJECTS}/items/{first['id']}/photo").content
            assert http.get(f"/v1/galleries/{name}").json()["describes_photos"]
        assert len(_contents(http, "objects")) == 50

        assert http.delete(url).json() == {"deleted": snapshot["name"]}
        assert http.get(f"{OBJECTS}/snapshots").json() == {"snapshots": []}
        assert_problem(http.get(url), 404, "unknown-snapshot", str(snapshot["name"]))
        assert_problem(http.delete(url), 404, "unknown-snapshot")
        taken = http.post("/v1/galleries/kept/restore", json=kept)
        assert_problem(taken, 409, "gallery-conflict", "'kept'")
