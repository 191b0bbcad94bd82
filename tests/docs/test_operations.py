"""docs/operations.md: its blocks, run one after the other in one shell, with real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.shell_blocks import add_jq, shell_blocks
from tests.support.free_ports import free_port
from tests.support.paths import ROOT
from tests.support.running_server import run_askew
from tests.support.small_encoders import make_encoder

PAGE = ROOT / "docs/operations.md"
DELETED = "object-pencil.jpg"
SECRET = "a sentence that only the deleted item has"


@pytest.fixture
def reader(tmp_path: Path, teacher_file: Path, student_file: Path, photos: list[Path]) -> Path:
    """A folder with encoders, photos, and a DATA whose gallery `museum` has the alias `live`."""
    folder = tmp_path / "reader"
    (folder / "photos").mkdir(parents=True)
    shutil.copy(teacher_file, folder / "teacher.onnx")
    shutil.copy(student_file, folder / "student.onnx")
    make_encoder(folder / "new-teacher.onnx", role="teacher", dim=96, seed=5, photo_size=160, version="2")
    make_encoder(folder / "new-student.onnx", role="student", dim=96, seed=5, noise=0.1, photo_size=96, version="2")
    for photo in photos:
        shutil.copy(photo, folder / "photos")
    shutil.copy(photos[0], folder / "photo.jpg")
    (folder / "photos.csv").write_text(f"file,text\nphotos/{DELETED},{SECRET}\n")
    data = ("--data", folder / "askew-data")
    for command in (
        ("index", folder / "photos", "--encoder", teacher_file, "--gallery", "museum", *data),
        ("index", folder / "photos", "--encoder", teacher_file, "--gallery", "museum", *data, "--payloads", folder / "photos.csv"),
        ("admit", student_file, "--gallery", "museum", *data),
        ("alias", "set", "live", "museum", *data),
    ):  # fmt: skip
        done = run_askew(*command)
        # Photos without a line of the payloads are named, which is exit code 3.
        assert done.returncode in (0, 3), done.stderr
    return folder


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_the_commands_work_one_after_the_other_and_what_is_deleted_for_good_is_gone(
    reader: Path, tmp_path: Path
) -> None:
    held = [
        path for path in (reader / "askew-data").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert held != []
    add_jq(tmp_path / "programs")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ASKEW_")},
        "PATH": f"{tmp_path / 'programs'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    port = free_port()
    environment["ASKEW_SERVER"] = f"http://127.0.0.1:{port}"
    script = "\n".join(["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", *shell_blocks(PAGE)])
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("--port 8000", f"--port {port}")
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=reader, env=environment, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout=800)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = log.read_text(errors="replace")
    assert code == 0, said[-6000:]
    assert "The drill restored 12 items." in said
    photo = (ROOT / "demo/gallery" / DELETED).read_bytes()
    for path in (reader / "askew-data").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert SECRET.encode() not in content, path
        assert photo[:4096] not in content, path
    counted = run_askew("items", "count", "--json", "--gallery", "museum-2", "--data", reader / "askew-data")
    assert json.loads(counted.stdout)["count"] == 11, counted.stderr
