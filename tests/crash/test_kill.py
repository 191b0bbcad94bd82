"""kill -9 at the worst moments: what was acknowledged is there afterwards, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.paths import DEMO
from tests.support.running_server import ASKEW, RunningServer, run_askew

BATCH = 16


def _unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _item(seed: int) -> dict[str, object]:
    return {"id": f"item-{seed}", "vector": pack_base64(_unit(seed)), "dtype": "f16le", "payload": {"seed": seed}}


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path, teacher_file: Path) -> None:
    data = tmp_path / "data"
    space = Encoder(teacher_file).space_id
    with RunningServer(data) as first:
        assert first.http.put("/v1/galleries/default", content=teacher_file.read_bytes()).status_code == 201
        items = "/v1/galleries/default/items"
        for seed in range(60):
            assert first.http.put(items, json={"space": space, "items": [_item(seed)]}).status_code == 200
        for seed in range(0, 60, 3):
            assert first.http.delete(f"{items}/item-{seed}").status_code == 200
        first.kill()
    with RunningServer(data) as second:
        listed = second.http.get(f"{items}?limit=1000").json()["items"]
        assert {item["id"] for item in listed} == {f"item-{seed}" for seed in range(60) if seed % 3}
        for seed in (1, 3, 59):
            query = {"vector": pack_base64(_unit(seed)), "dtype": "f16le", "space": space, "limit": 1}
            best = second.http.post("/search", json=query).json()["hits"][0]
            assert (best["id"] == f"item-{seed}") == (seed % 3 != 0)


def test_changes_after_a_clean_stop_survive_kill_9(tmp_path: Path, teacher_file: Path) -> None:
    data = tmp_path / "data"
    space = Encoder(teacher_file).space_id
    items = "/v1/galleries/default/items"
    with RunningServer(data) as first:
        first.http.put("/v1/galleries/default", content=teacher_file.read_bytes())
        first.http.put(items, json={"space": space, "items": [_item(seed) for seed in range(20)]})
    with RunningServer(data) as second:
        second.http.put(
            items, json={"space": space, "items": [_item(20), {**_item(5), "vector": pack_base64(_unit(99))}]}
        )
        second.http.delete(f"{items}/item-0")
        second.kill()
    with RunningServer(data) as third:
        found = {}
        for seed in (0, 5, 20, 99):
            query = {"vector": pack_base64(_unit(seed)), "dtype": "f16le", "space": space, "limit": 1}
            hit = third.http.post("/search", json=query).json()["hits"][0]
            found[seed] = hit["id"] if hit["score"] > 0.99 else None
        assert found == {0: None, 5: None, 20: "item-20", 99: "item-5"}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_indexing_goes_on_behind_the_last_batch(tmp_path: Path, teacher_file: Path, sent: signal.Signals) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    # Enough photos for several batches: each of the demo's eight times, told apart by a byte behind the picture.
    for photo in (DEMO / "gallery").glob("*.jpg"):
        for copy in range(8):
            (photos / f"{photo.stem}-{copy}.jpg").write_bytes(photo.read_bytes() + bytes([copy]))
    count = len(list(photos.iterdir()))
    data = tmp_path / "data"
    command = [ASKEW, "index", str(photos), "--encoder", str(teacher_file), "--data", str(data), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for_items(data, 3 * BATCH, process)
    os.kill(process.pid, sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in {-signal.SIGKILL, 130}, errors
    assert "Traceback" not in errors
    committed = _count(data)
    assert 3 * BATCH <= committed < count
    again = run_askew(*command[1:])
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert (summary["known"], summary["described"]) == (committed, count - committed)


def _count(data: Path) -> int:
    with sqlite3.connect(data / "galleries" / "default" / "gallery.db") as database:
        return int(database.execute("SELECT count(*) FROM items").fetchone()[0])


def _wait_for_items(data: Path, wanted: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if _count(data) >= wanted:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.002)
    raise AssertionError(f"indexing ended before {wanted} items were there: {process.communicate()}")


def test_the_describing_child_may_be_killed_and_ends_with_its_server(tmp_path: Path, teacher_file: Path) -> None:
    data = tmp_path / "data"
    photo = next((DEMO / "gallery").glob("*.jpg")).read_bytes()
    url = "/v1/galleries/default/items/one"
    with RunningServer(data) as running:
        running.http.put("/v1/galleries/default", content=teacher_file.read_bytes())
        headers = {"Content-Type": "image/jpeg"}
        assert running.http.put(url, content=photo, headers=headers).status_code == 200
        (child,) = _describing_children(running.process.pid)
        os.kill(child, signal.SIGKILL)
        again = running.http.put(url, content=photo, headers=headers)
        if again.status_code == 503:
            assert again.headers["retry-after"] == "1"
            again = running.http.put(url, content=photo, headers=headers)
        assert again.status_code == 200, again.text
        (child,) = _describing_children(running.process.pid)
        running.kill()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(f"/proc/{child}").exists() or _state(child) == "Z"


def _describing_children(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    # The child is started from a thread of the server, and is therefore listed under that thread.
    for task in Path(f"/proc/{parent}/task").iterdir():
        children += (task / "children").read_text().split()
    return [int(c) for c in dict.fromkeys(children) if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_clean_stop_prints_nothing_alarming(tmp_path: Path, teacher_file: Path) -> None:
    data = tmp_path / "data"
    running = RunningServer(data)
    running.http.put("/v1/galleries/default", content=teacher_file.read_bytes())
    items = [_item(seed) for seed in range(5)]
    running.http.put("/v1/galleries/default/items", json={"space": Encoder(teacher_file).space_id, "items": items})
    output = running.stop()
    assert running.process.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in output
    assert _count(data) == 5
