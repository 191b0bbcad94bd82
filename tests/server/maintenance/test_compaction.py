"""`askew gallery compact`: what deleted items left behind is in no file of the gallery afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.running_server import RunningServer, run_askew

SECRET = "a sentence that only the deleted item has"

LONG = SECRET * 500
"""Of many pages: those that become free are not written again by the deletion itself."""


def holding(data: Path, content: bytes) -> list[Path]:
    return [path for path in data.rglob("*") if path.is_file() and content in path.read_bytes()]


@pytest.mark.slow
def test_a_deleted_payload_and_photo_are_in_no_file_after_it(
    tmp_path: Path, teacher_file: Path, photos: list[Path]
) -> None:
    data, gone = tmp_path / "data", photos[0]
    payloads = tmp_path / "payloads.jsonl"
    payloads.write_text(
        "".join(json.dumps({"file": str(each), "text": LONG if each == gone else "x"}) + "\n" for each in photos)
    )
    options = ("--gallery", "museum", "--data", data)
    done = run_askew("index", gone.parent, "--encoder", teacher_file, "--payloads", payloads, *options)
    assert done.returncode in (0, 3), done.stderr
    assert holding(data, SECRET.encode()) != []
    # With a server that is killed, the deletion is in the log alone, and the database still has the item.
    with RunningServer(data, "--gallery", "museum") as server:
        deleted = server.http.delete(f"/v1/galleries/museum/items/{gone.name}")
        assert deleted.status_code == 200, deleted.text
        server.kill()
    assert holding(data, SECRET.encode()) != [], "the test needs something that is left behind"
    compacted = run_askew("gallery", "compact", "museum", "--data", data)
    assert compacted.returncode == 0, compacted.stderr
    assert holding(data, SECRET.encode()) == []
    assert holding(data, gone.read_bytes()[:4_096]) == []
    examined = run_askew("doctor", "--data", data)
    assert examined.returncode == 0, examined.stdout


def test_it_is_for_a_stopped_server(tmp_path: Path) -> None:
    refused = run_askew("gallery", "compact", "museum")
    assert refused.returncode == 1
    assert "--data DIR" in refused.stderr
