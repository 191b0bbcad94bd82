"""`askew index`: what it describes, skips and refuses."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.support.in_process_cli import call_askew
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(indexed: Path, tmp_path: Path) -> Path:
    """Six photos, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, photo in enumerate(sorted((indexed / "photos").iterdir(), key=lambda path: path.stat().st_size)[:6]):
        shutil.copy(photo, folder / "more" / photo.name if number == 5 else folder / photo.name)
    return folder


def _ids(data: Path) -> set[str]:
    with sqlite3.connect(data / "galleries" / "default" / "gallery.db") as database:
        return {row[0] for row in database.execute("SELECT id FROM items")}


def _counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """What `--json` counts of files, without zeros."""
    report = json.loads(done.stdout)
    kinds = {kind: report[kind]["count"] for kind in ("replaced", "left_out", "skipped", "unmatched")}
    return {
        kind: count for kind, count in {"taken": report["taken"], "known": report["known"], **kinds}.items() if count
    }


def _first(done: subprocess.CompletedProcess[str], kind: str) -> list[str]:
    return [name for reason in json.loads(done.stdout)[kind]["reasons"].values() for name in reason["first"]]


def test_ids_are_paths_in_the_folder_and_a_second_run_describes_nothing(
    folder: Path, teacher_file: Path, tmp_path: Path
) -> None:
    first = call_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert first.returncode == 0, first.stderr
    assert _counts(first) == {"taken": 6}
    assert _ids(tmp_path / "d") == {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    second = call_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert _counts(second) == {"known": 6}


def test_a_changed_photo_is_described_again(folder: Path, teacher_file: Path, tmp_path: Path) -> None:
    call_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d")
    Image.new("RGB", (200, 100), (200, 30, 30)).save(next(iter(sorted(folder.glob("*.jpg")))))
    again = call_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert _counts(again) == {"taken": 1, "known": 5}
    assert json.loads(again.stdout)["items"]["replaced"]["count"] == 1


def test_bad_photos_are_named_and_skipped_and_the_exit_code_is_not_zero(
    folder: Path, teacher_file: Path, tmp_path: Path
) -> None:
    good = next(iter(sorted(folder.glob("*.jpg")))).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no photo")
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    Image.new("RGB", (3000, 4)).save(folder / "thin.png")
    done = call_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert done.returncode == 3, done.stderr
    assert _counts(done) == {"taken": 6, "skipped": 4}
    names = {"empty.jpg", "text.png", "cut.jpg", "thin.png"}
    assert set(_first(done, "skipped")) == names
    for name in names:
        assert any(str(folder / name) in line and line.startswith("askew:   ") for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr


def test_folders_that_cannot_be_indexed(folder: Path, teacher_file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for photos, word in ((empty, "there are none"), (tmp_path / "missing", "missing"), (teacher_file, "not a folder")):
        done = call_askew("index", photos, "--encoder", teacher_file, "--data", tmp_path / "d")
        assert done.returncode == 1
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_a_student_cannot_describe_a_gallery_and_another_teacher_cannot_join(
    folder: Path, teacher_file: Path, student_file: Path, tmp_path: Path
) -> None:
    by_student = call_askew("index", folder, "--encoder", student_file, "--data", tmp_path / "d")
    assert by_student.returncode == 1
    assert "is a student" in by_student.stderr
    assert call_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d").returncode == 0
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=4)
    joined = call_askew("index", folder, "--encoder", other, "--data", tmp_path / "d")
    assert joined.returncode == 1
    assert "Choose another gallery name" in joined.stderr


def test_indexing_into_a_running_server(folder: Path, teacher_file: Path, server: RunningServer) -> None:
    arguments = ("index", folder, "--encoder", teacher_file, "--server", server.url, "--gallery", "sent", "--json")
    first = call_askew(*arguments)
    assert first.returncode == 0, first.stderr
    assert _counts(first) == {"taken": 6}
    assert _counts(call_askew(*arguments)) == {"known": 6}
    item = next(iter(sorted(folder.glob("*.jpg"))))
    shown = server.http.get(f"/v1/galleries/sent/items/{item.name}/photo")
    assert shown.content == item.read_bytes()


def test_data_in_use_is_refused_with_the_name_of_its_user(
    folder: Path, teacher_file: Path, server: RunningServer
) -> None:
    done = call_askew("index", folder, "--encoder", teacher_file, "--data", server.data)
    assert done.returncode == 1
    assert server.url in done.stderr
    assert "--server" in done.stderr
    second = run_askew("serve", "--data", server.data, "--port", "0")
    assert second.returncode == 1
    assert "is in use by askew serve" in second.stderr


def test_a_busy_port_and_a_public_address_are_refused(server: RunningServer, tmp_path: Path) -> None:
    busy = run_askew("serve", "--data", tmp_path / "other", "--port", server.url.rsplit(":", 1)[1])
    assert busy.returncode == 1
    assert "is in use by another program" in busy.stderr
    public = run_askew("serve", "--data", tmp_path / "other", "--host", "0.0.0.0", "--port", "0")
    assert public.returncode == 1
    assert "--listen-publicly" in public.stderr
