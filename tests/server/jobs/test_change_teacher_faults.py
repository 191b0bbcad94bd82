"""A change of teacher while its server is stopped as an operator stops it, and while the disk is full."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.server.jobs.conftest import PHOTOS
from tests.support.alias_writers import AliasWriters
from tests.support.free_ports import free_port
from tests.support.job_waiting import wait_for_job
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew, start_askew
from tests.support.teacher_changes import LONG, Phase, change_command, changes, filled_ids, is_reached
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(900)

STATED = 10.0
"""Seconds in which a server stops, without `drain_seconds` (docs/server.md)."""
SAVING = 10.0
"""That saving the indexes and ending the processes may take on a machine that does other work."""


@pytest.fixture(scope="module")
def large_photo(chosen: list[Path]) -> bytes:
    """A photo that takes long to be described, so that a hold does, too; with a larger one, no round is ever short."""
    content = io.BytesIO()
    with Image.open(chosen[5]) as photo:
        photo.resize((2000, 1500)).save(content, "JPEG", quality=60)
    return content.getvalue()


@pytest.mark.drill
@pytest.mark.parametrize("phase", ["describing", "catching up", "held"])
def test_a_server_that_is_stopped_in_any_phase_ends_in_time_and_goes_on_with_the_same_command(
    filled: Path, second_file: Path, chosen: list[Path], large_photo: bytes, phase: Phase
) -> None:
    options = ("--gallery", "live", "--port", str(free_port()))
    photo = large_photo if phase == "held" else chosen[5].read_bytes()
    writers = None
    try:
        with RunningServer(filled, *options) as first:
            writers = AliasWriters(first.url, photo, filled_ids())
            command = start_askew(*change_command(first.url, second_file))
            try:
                wait_until(lambda: is_reached(phase, first.http, writers), phase)
                began = time.monotonic()
                output = first.stop()
                took = time.monotonic() - began
                told = command.communicate(timeout=LONG)
            finally:
                command.kill()
        assert "Traceback" not in "".join(told)
        assert took < STATED + SAVING
        assert "Traceback" not in output
        with RunningServer(filled, *options) as second:
            assert second.http.get("/v1/aliases").json()["aliases"]["live"] in {"objects", "fresh"}
            again = run_askew(*change_command(second.url, second_file), timeout=LONG)
            assert again.returncode == 0, again.stderr
            assert second.http.get("/v1/aliases").json()["aliases"] == {"live": "fresh"}
            writers.stop()
            writers.check(second.http)
    finally:
        if writers is not None:
            writers.give_up()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a disk takes root")
    point = tmp_path / "disk"
    point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(point)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a disk is not allowed here: {mounted.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


@contextmanager
def full(disk: Path, free: int = 0) -> Iterator[None]:
    """Fill a disk but for some kB, and empty it again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        with pytest.raises(OSError, match="No space left"):
            while True:
                stream.write(bytes(4_096))
        stream.truncate(max(0, stream.tell() - free * 1_024))
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.slow
def test_a_change_of_teacher_that_fills_the_disk_fails_with_a_sentence_and_the_old_gallery_goes_on(
    two_galleries: Path, small_disk: Path, old_photo: Path
) -> None:
    """From no room at all to nearly enough. What ends there is told, though the disk takes no record of that."""
    shutil.copytree(two_galleries, small_disk / "data")
    failed, photo = [], old_photo.read_bytes()
    with RunningServer(small_disk / "data", "--gallery", "live") as server:
        http = server.http
        for free in (0, 16, 32, 48, 64, 80, 96, 112, 128):
            with full(small_disk, free):
                sent = http.post("/v1/aliases/live/change-teacher", json={"to": "next"})
                if sent.status_code == 202:
                    job = wait_for_job(http, sent.json()["id"])
                    if job["state"] == "done":
                        break
                    assert (job["state"], job["problem"]["status"]) == ("failed", 507), job
                    assert "disk is full" in job["problem"]["detail"]
                    assert changes(http, "live")[0]["state"] == "failed"
                    failed.append(job["id"])
                else:
                    assert_problem(sent, 507, "insufficient-storage", "disk is full")
                assert http.get("/v1/aliases").json()["aliases"] == {"live": "objects"}
                assert http.get("/v1/galleries/live").json()["items"] == PHOTOS
            # It is not held, and takes changes.
            kind = {"Content-Type": "image/jpeg"}
            written = http.put(f"/v1/galleries/live/items/{old_photo.stem}", content=photo, headers=kind)
            assert written.status_code == 200, written.text
        else:
            job = wait_for_job(http, http.post("/v1/aliases/live/change-teacher", json={"to": "next"}).json()["id"])
            assert job["state"] == "done", job
        assert failed
        assert http.get("/v1/galleries/next").json()["items"] == PHOTOS
        assert http.get("/v1/aliases").json()["aliases"] == {"live": "next"}
        output = server.stop()
        assert "Traceback" not in output
        for each in failed:
            assert f"job {each} has ended (failed)" in output or "cannot be recorded" not in output
    with RunningServer(small_disk / "data", "--gallery", "live") as server:
        assert {each["state"] for each in changes(server.http, "objects")} == {"failed", "done"}
