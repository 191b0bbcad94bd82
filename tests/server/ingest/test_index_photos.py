"""`askew index`: what it describes, skips, refuses and goes on with."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder


@pytest.fixture
def folder(indexed: Path, tmp_path: Path) -> Path:
    """Six photos, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, photo in enumerate(sorted((indexed / "photos").iterdir())[:6]):
        shutil.copy(photo, folder / "more" / photo.name if number == 5 else folder / photo.name)
    return folder


def _ids(data: Path) -> set[str]:
    with sqlite3.connect(data / "galleries" / "default" / "gallery.db") as database:
        return {row[0] for row in database.execute("SELECT id FROM items")}


def test_ids_are_paths_in_the_folder_and_a_second_run_describes_nothing(
    folder: Path, teacher_file: Path, tmp_path: Path
) -> None:
    first = run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == {"described": 6, "known": 0, "skipped": {}}
    assert _ids(tmp_path / "d") == {path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg")}
    second = run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert json.loads(second.stdout) == {"described": 0, "known": 6, "skipped": {}}


def test_a_changed_photo_is_described_again(folder: Path, teacher_file: Path, tmp_path: Path) -> None:
    run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d")
    Image.new("RGB", (200, 100), (200, 30, 30)).save(next(iter(sorted(folder.glob("*.jpg")))))
    again = run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert json.loads(again.stdout)["described"] == 1


def test_bad_photos_are_named_and_skipped_and_the_exit_code_says_so(
    folder: Path, teacher_file: Path, tmp_path: Path
) -> None:
    good = next(iter(sorted(folder.glob("*.jpg")))).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no photo")
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    Image.new("RGB", (3000, 4)).save(folder / "thin.png")
    done = run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d", "--json")
    assert done.returncode == 3, done.stderr
    assert set(json.loads(done.stdout)["skipped"]) == {
        str(folder / n) for n in ("empty.jpg", "text.png", "cut.jpg", "thin.png")
    }
    assert json.loads(done.stdout)["described"] == 6
    for name in ("empty.jpg", "text.png", "cut.jpg", "thin.png"):
        assert any(name in line and line.startswith("askew: skipped: ") for line in done.stderr.splitlines()), (
            done.stderr
        )
    assert "Traceback" not in done.stderr


def test_folders_that_cannot_be_indexed(folder: Path, teacher_file: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for photos, word in ((empty, "there are none"), (tmp_path / "missing", "missing"), (teacher_file, "not a folder")):
        done = run_askew("index", photos, "--encoder", teacher_file, "--data", tmp_path / "d")
        assert done.returncode == 1
        assert word in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder; test_photo_folder.py covers the refusal")
def test_a_folder_without_permission(folder: Path, teacher_file: Path, tmp_path: Path) -> None:
    (folder / "more").chmod(0)
    done = run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d")
    (folder / "more").chmod(0o755)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr


def test_a_student_cannot_describe_a_gallery_and_another_teacher_cannot_join(
    folder: Path, teacher_file: Path, student_file: Path, tmp_path: Path
) -> None:
    by_student = run_askew("index", folder, "--encoder", student_file, "--data", tmp_path / "d")
    assert by_student.returncode == 1
    assert "is a student" in by_student.stderr
    assert run_askew("index", folder, "--encoder", teacher_file, "--data", tmp_path / "d").returncode == 0
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=4)
    joined = run_askew("index", folder, "--encoder", other, "--data", tmp_path / "d")
    assert joined.returncode == 1
    assert "Choose another gallery name" in joined.stderr


def test_indexing_into_a_running_server(folder: Path, teacher_file: Path, data: Path) -> None:
    with RunningServer(data, "--gallery", "objects") as running:
        arguments = ("index", folder, "--encoder", teacher_file, "--server", running.url, "--gallery", "sent", "--json")
        first = run_askew(*arguments)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout)["described"] == 6
        assert json.loads(run_askew(*arguments).stdout)["known"] == 6
        item = next(iter(sorted(folder.glob("*.jpg"))))
        shown = running.http.get(f"/v1/galleries/sent/items/{item.name}/photo")
        assert shown.content == item.read_bytes()


def test_data_in_use_is_said_with_who_uses_it(folder: Path, teacher_file: Path, data: Path) -> None:
    with RunningServer(data) as running:
        done = run_askew("index", folder, "--encoder", teacher_file, "--data", data)
        assert done.returncode == 1
        assert running.url in done.stderr
        assert "--server" in done.stderr
        second = run_askew("serve", "--data", data, "--port", "0")
        assert second.returncode == 1
        assert "is in use by askew serve" in second.stderr


def test_a_busy_port_and_a_public_address_are_refused(data: Path, tmp_path: Path) -> None:
    with RunningServer(data) as running:
        busy = run_askew("serve", "--data", tmp_path / "other", "--port", running.url.rsplit(":", 1)[1])
        assert busy.returncode == 1
        assert "is in use by another program" in busy.stderr
    public = run_askew("serve", "--data", tmp_path / "other", "--host", "0.0.0.0", "--port", "0")
    assert public.returncode == 1
    assert "--listen-publicly" in public.stderr
