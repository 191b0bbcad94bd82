"""The teacher of an alias is changed while clients write: from a gallery in Milvus into another one there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.alias_writers import AliasWriters
from tests.support.in_process_cli import call_askew
from tests.support.job_waiting import wait_for_job
from tests.support.milvus_server import MilvusServer
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FILLED = 30


def test_what_was_acknowledged_is_in_the_new_gallery(milvus: MilvusServer, teacher_file: Path, tmp_path: Path) -> None:
    data, photo = tmp_path / "data", min((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)
    second = make_encoder(tmp_path / "second.onnx", role="teacher", dim=96, seed=5, photo_size=160, version="2")
    for name, encoder in (("old-far", teacher_file), ("new-far", second)):
        done = call_askew("gallery", "create", name, "--encoder", encoder, "--data", data, "--backend", milvus.address)
        assert done.returncode == 0, done.stderr
    assert call_askew("alias", "set", "live", "old-far", "--data", data).returncode == 0
    content = photo.read_bytes()
    ids = [f"filled-{number}" for number in range(1, FILLED + 1)]
    with RunningServer(data, "--gallery", "live") as server:
        http = server.http
        sent = [("photo", (each, content + bytes([number]), "image/jpeg")) for number, each in enumerate(ids)]
        job = wait_for_job(http, http.post("/v1/galleries/live/items/photos", files=sent).json()["id"])
        assert job["result"]["described"] == FILLED, job
        writers = AliasWriters(server.url, content, ids)
        try:
            accepted = http.post("/v1/aliases/live/change-teacher", json={"to": "new-far", "hold_seconds": 60})
            job = wait_for_job(http, accepted.json()["id"], 400)
        finally:
            writers.stop()
        assert job["state"] == "done", job.get("problem")
        assert job["result"]["is_switched"], job
        assert http.get("/v1/aliases").json()["aliases"]["live"] == "new-far"
        writers.check(http)
