"""kill -9 at the worst moments: acknowledged writes survive, and an interrupted command can be repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.wire import pack_base64
from askew_server.ingest.index_photos import BATCH
from askew_server.storage.errors import DatabaseError
from askew_server.storage.sqlite import Database
from tests.support.gallery_files import item_json, unit_vector, write_gallery
from tests.support.paths import DEMO
from tests.support.prefork import PreforkedProcess
from tests.support.running_server import RunningServer, run_askew, start_askew

Process = PreforkedProcess | subprocess.Popen[str]
ITEMS = "/v1/galleries/default/items"


@pytest.fixture
def data(tmp_path: Path, teacher_file: Path) -> Path:
    """DATA with the empty gallery `default`."""
    write_gallery(tmp_path / "data", "default", teacher_file)
    return tmp_path / "data"


def test_every_acknowledged_write_survives_kill_9(data: Path, teacher_file: Path) -> None:
    """Also after a restart, of a server that was stopped and of one that was killed."""
    space = read_encoder_file(teacher_file).manifest.space_id
    with RunningServer(data) as first:
        for seed in range(60):
            items = [item_json(f"item-{seed}", seed)]
            assert first.http.put(ITEMS, json={"space": space, "items": items}).status_code == 200
        for seed in range(0, 60, 3):
            assert first.http.delete(f"{ITEMS}/item-{seed}").status_code == 200
        first.kill()
    with RunningServer(data) as second:
        listed = second.http.get(f"{ITEMS}?limit=1000").json()["items"]
        assert {item["id"] for item in listed} == {f"item-{seed}" for seed in range(60) if seed % 3}
        for seed in (1, 3, 59):
            assert (_best(second, space, seed) == f"item-{seed}") == (seed % 3 != 0)
        changed = [item_json("item-60", 60), item_json("item-5", 99)]
        second.http.put(ITEMS, json={"space": space, "items": changed})
        second.http.delete(f"{ITEMS}/item-1")
    with RunningServer(data) as third:
        third.http.delete(f"{ITEMS}/item-2")
        third.kill()
    with RunningServer(data) as fourth:
        found = {seed: _best(fourth, space, seed) for seed in (0, 1, 2, 4, 5, 60, 99)}
        assert found == {0: None, 1: None, 2: None, 4: "item-4", 5: None, 60: "item-60", 99: "item-5"}


def _best(server: RunningServer, space: str, seed: int) -> str | None:
    """The item that has the vector of a seed."""
    query = {"vector": pack_base64(unit_vector(seed)), "dtype": "f16le", "space": space, "limit": 1}
    hit = server.http.post("/search", json=query).json()["hits"][0]
    return str(hit["id"]) if hit["score"] > 0.99 else None


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_indexing_continues_after_the_last_batch(tmp_path: Path, teacher_file: Path, sent: signal.Signals) -> None:
    """The command is held in the middle of its work, so that it has not ended when it is stopped."""
    photos = tmp_path / "photos"
    photos.mkdir()
    small = sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:10]
    count = 60 * BATCH
    for number in range(count):
        content = small[number % len(small)].read_bytes() + number.to_bytes(2, "big")
        (photos / f"{number:04}.jpg").write_bytes(content)
    data = tmp_path / "data"
    command: list[str | Path] = ["index", photos, "--encoder", teacher_file, "--data", data, "--json"]
    process = start_askew(*command)
    _wait_for_items(data, 3 * BATCH, process)
    os.kill(process.pid, signal.SIGSTOP)
    held = _count(data)
    os.kill(process.pid, sent)
    os.kill(process.pid, signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in {-signal.SIGKILL, 130}, errors
    assert "Traceback" not in errors
    committed = _count(data)
    assert 3 * BATCH <= held <= committed < count
    if sent == signal.SIGINT:
        assert f"so far, gallery 'default': {committed:,} files taken." in errors
    again = run_askew(*command)
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert (report["taken"], report["known"]) == (count - committed, committed)
    assert _count(data) == count


def _count(data: Path) -> int:
    with Database.open_read_only(data / "galleries" / "default" / "gallery.db") as database:
        return int(database.value("SELECT count(*) FROM items"))


def _wait_for_items(data: Path, wanted: int, process: Process) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        # The database may not exist yet.
        with suppress(DatabaseError):
            if _count(data) >= wanted:
                return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"indexing ended before {wanted} items were there: {process.communicate()}")


def test_the_describing_child_may_be_killed_and_ends_with_its_server(data: Path) -> None:
    photo = next((DEMO / "gallery").glob("*.jpg")).read_bytes()
    url = f"{ITEMS}/one"
    with RunningServer(data) as running:
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
        deadline = time.monotonic() + 120
        while _is_running(child):
            assert time.monotonic() < deadline, "the child outlives its server"
            time.sleep(0.02)


def _describing_children(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    # The child is started from a thread of the server, and is therefore listed under that thread.
    for task in Path(f"/proc/{parent}/task").iterdir():
        children += (task / "children").read_text().split()
    return [int(c) for c in dict.fromkeys(children) if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def _is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_clean_stop_prints_no_traceback(data: Path, teacher_file: Path) -> None:
    running = RunningServer(data)
    space = read_encoder_file(teacher_file).manifest.space_id
    items = [item_json(f"item-{seed}", seed) for seed in range(5)]
    assert running.http.put(ITEMS, json={"space": space, "items": items}).status_code == 200
    output = running.stop()
    assert running.process.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in output
    assert _count(data) == 5
