"""What the training commands say of lines and photos that they cannot take; the rest goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from askew_training.cli.cache import cache
from askew_training.cli.check_photos import check_photos
from askew_training.errors import DataError
from askew_training.heads import learn_whitening_of_pairs
from askew_training.heads.pca import learn_whitening
from askew_training.vectors import TeacherVectors
from tests.support.paths import ROOT
from tests.support.training_helpers import MANIFEST_HEADER, run_command
from tests.training.photo_files import save_photo

DEADLINE = 120


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two good photos, and a line of each broken kind."""
    for number in range(2):
        save_photo(tmp_path / f"{number}.png", number, (64, 50))
    lines = [
        "0.png,a,train,,walls",
        "1.png,a,train,,walls",
        "absent.png,a,train,,walls",
        "too,few",
        "0.png,a,rule,,walls",
    ]
    broken = [b"M\xfcnchen.png,a,train,,walls", b",a,train,,walls"]
    content = MANIFEST_HEADER.encode() + b"\n".join([*(line.encode() for line in lines), *broken]) + b"\n"
    (tmp_path / "m.csv").write_bytes(content)
    return tmp_path / "m.csv"


def test_broken_lines_and_missing_photos_are_counted_and_the_rest_is_cached(
    manifest: Path, teacher: Path, tmp_path: Path
) -> None:
    done = run_command(cache, teacher, tmp_path / "out", "--manifest", manifest, "--json")
    assert done.exit_code == 3
    assert TeacherVectors.open(tmp_path / "out").ids == ("0.png", "1.png")
    report = json.loads(done.stdout)["intake"]
    assert report["taken"] == 2
    assert {reason: each["count"] for reason, each in report["skipped"]["reasons"].items()} == {
        "lines of the manifest with too few values": 1,
        "lines of the manifest with an unknown role": 1,
        "lines of the manifest with not UTF-8": 1,
        "lines of the manifest with no path": 1,
        "cannot be described": 1,
    }
    assert "m.csv, line 5" in done.stderr and "absent.png" in done.stderr


def test_check_photos_counts_the_same(manifest: Path) -> None:
    done = run_command(check_photos, "--manifest", manifest)
    assert done.exit_code == 3
    assert done.stdout.startswith("2 usable photos")
    assert "2 photos taken, 5 skipped" in done.stderr


def test_landmarks_that_were_not_fetched_are_left_out(teacher: Path, tmp_path: Path) -> None:
    """Case 22 of the bug reports: most have only a part of this set."""
    (tmp_path / "train.csv").write_text("landmark_id,images\n5,abc1 abd2\n6,xyz3\nx,???\n")
    for image in ("abc1", "abd2"):
        save_photo(tmp_path / "images" / image[0] / image[1] / image[2] / f"{image}.jpg", 1, (64, 50))
    arguments = ("--landmarks", tmp_path / "train.csv", "--images", tmp_path / "images")
    done = run_command(check_photos, *arguments, "--json")
    report = json.loads(done.stdout)["intake"]
    assert (done.exit_code, report["left_out"]["count"], report["skipped"]["count"]) == (3, 1, 1)
    assert "images of the list that were not fetched" in done.stderr and "xyz3" in done.stderr
    assert "manifest" not in done.stderr
    (tmp_path / "train.csv").write_text("landmark_id,images\n5,abc1 abd2\n6,xyz3\n")
    assert run_command(check_photos, *arguments).exit_code == 0
    made = run_command(cache, teacher, tmp_path / "out", *arguments)
    assert made.exit_code == 0
    assert TeacherVectors.open(tmp_path / "out").ids == ("abc1", "abd2")


def test_a_file_whose_name_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    save_photo(tmp_path / "walls" / "a.png", 1, (64, 50))
    save_photo(tmp_path / "walls" / "b.png", 2, (64, 50)).rename(tmp_path / "walls" / os.fsdecode(b"M\xfc.png"))
    done = run_command(check_photos, "--photos", tmp_path / "walls")
    assert done.exit_code == 3
    assert "the name is not UTF-8" in done.stderr
    assert "1 photo taken, 1 skipped" in done.stderr


def test_both_whitenings_refuse_fewer_photos_than_dimensions() -> None:
    """Case 25 of the bug reports."""
    vectors = np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32)
    pairs = np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7])
    for dim in (9, 12):
        sentence = f"Whitening to {dim} dimensions needs more than {dim} photos, got 9"
        with pytest.raises(DataError, match=sentence):
            learn_whitening(vectors, dim, 0.5)
        with pytest.raises(DataError, match=sentence):
            learn_whitening_of_pairs(vectors, *pairs, dim, 0.5)


@pytest.mark.slow
def test_sigterm_to_the_process_group_keeps_what_was_cached(teacher: Path, tmp_path: Path) -> None:
    for number in range(400):
        save_photo(tmp_path / "walls" / f"{number}.png", number % 7, (400, 300))
    arguments = ("cache", teacher, tmp_path / "out", "--photos", tmp_path / "walls")
    command = [sys.executable, "-m", "askew_client.main", *map(str, arguments)]
    run = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    vectors, end = tmp_path / "out" / "vectors.bin", time.monotonic() + DEADLINE
    while not vectors.exists():
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGTERM)
    errors = run.communicate(timeout=DEADLINE)[1]
    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    handled = json.loads((tmp_path / "out" / "progress.json").read_text())["handled"]
    assert 0 <= handled < 400
    assert run_command(cache, *arguments[1:]).exit_code == 0
    assert len(TeacherVectors.open(tmp_path / "out")) == 400
