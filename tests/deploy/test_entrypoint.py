"""The image's entry point, in an environment that holds only the image's packages (`make test` makes it)."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.free_ports import free_port
from tests.support.paths import DEMO, ROOT

BARE = ROOT / os.environ.get("VENV_DEMO", ".venv-demo") / "bin"
ENTRYPOINT = ROOT / "deploy/entrypoint.py"

pytestmark = pytest.mark.skipif(
    not (BARE / "askew").exists(), reason="the bare environment is missing: run `make test-image`"
)


def wait_until_ready(port: int, container: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert container.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"not ready in time:\n{log.read_text()}")


@pytest.fixture
def small_demo(tmp_path: Path) -> Path:
    """The demo's encoders and credits with a tenth of its photos: describing all of them is tested by test_demo.py."""
    demo = tmp_path / "demo"
    (demo / "gallery").mkdir(parents=True)
    (demo / "encoders").symlink_to(DEMO / "encoders")
    photos = sorted((DEMO / "gallery").glob("*.jpg"))[::10]
    for photo in photos:
        (demo / "gallery" / photo.name).symlink_to(photo)
    with (DEMO / "credits.csv").open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        rows = [row for row in reader if Path(row["file"]).name in {photo.name for photo in photos}]
        columns = reader.fieldnames or []
    assert len(rows) == len(photos)
    with (demo / "credits.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns)
        writer.writeheader()
        writer.writerows(rows)
    return demo


@contextmanager
def running(data: Path, demo: Path, **more: str) -> Iterator[int]:
    """The entry point as the container starts it: nothing in the environment but what the image sets."""
    port = free_port()
    log = data.parent / "container.log"
    environment = {
        "PATH": f"{BARE}:/usr/bin:/bin",
        "ASKEW_DATA": str(data),
        "DEMO": "1",
        "DEMO_DIR": str(demo),
        "PORT": str(port),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        # In the image the demo's modules lie beside the entry point.
        "PYTHONPATH": str(DEMO),
        **more,
    }
    with log.open("wb") as out:
        command = [str(BARE / "python"), str(ENTRYPOINT)]
        container = subprocess.Popen(command, env=environment, cwd=data, stdout=out, stderr=out)
    try:
        wait_until_ready(port, container, log)
        yield port
        container.send_signal(signal.SIGTERM)
        assert container.wait(120) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if container.poll() is None:
            container.kill()
            container.wait()


def check_health(port: int, **more: str) -> subprocess.CompletedProcess[str]:
    """The image's health check, as the engine runs it."""
    environment = {"PATH": f"{BARE}:/usr/bin:/bin", "PORT": str(port), **more}
    command = [str(BARE / "python"), str(ROOT / "deploy/health.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def start(data: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The entry point, where it is expected to end by itself."""
    environment = {"PATH": f"{BARE}:/usr/bin:/bin", "ASKEW_DATA": str(data), **more}
    command = [str(BARE / "python"), str(ENTRYPOINT)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)


def answered(port: int, path: str, key: str | None = None) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={} if key is None else {"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_environment_has_no_torch() -> None:
    found = subprocess.run(
        [str(BARE / "python"), "-c", "import torch"], cwd="/", capture_output=True, text=True, check=False
    )
    assert "No module named 'torch'" in found.stderr


def test_the_first_start_describes_the_demo_and_the_second_serves_it_to_a_phone(
    tmp_path: Path, small_demo: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    keys: list[str] = []
    described = 0
    for _ in range(2):
        with running(data, small_demo, PHONE_HOST="192.168.1.20") as port:
            told = re.findall(r"https://192\.168\.1\.20:8443/#key=(ask_\S+)", (tmp_path / "container.log").read_text())
            keys.append(told[0])
            assert answered(port, "/v1/galleries/demo") == 401
            assert answered(port, "/v1/keys", told[0]) == 403
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/galleries/demo", headers={"Authorization": f"Bearer {told[0]}"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                gallery = json.load(answer)
            assert gallery["items"] == len(list((small_demo / "gallery").iterdir())) >= 10
            assert len(gallery["admitted_encoders"]) >= 1
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                assert b"<title>Askew" in answer.read()
            assert check_health(port).returncode == 0
            described = described or (data / ".demo-is-ready").stat().st_mtime_ns
    assert (data / ".demo-is-ready").stat().st_mtime_ns == described
    assert keys[0] == keys[1], "a phone's link works after a restart"
    assert stat.S_IMODE((data / ".phone-key").stat().st_mode) == 0o600


def test_with_first_key_the_server_never_answers_without_one(tmp_path: Path) -> None:
    port = free_port()
    environment = {"PATH": f"{BARE}:/usr/bin:/bin", "ASKEW_DATA": str(tmp_path), "PORT": str(port), "FIRST_KEY": "1"}
    log = tmp_path.parent / f"{tmp_path.name}.log"
    with log.open("wb") as out:
        container = subprocess.Popen([str(BARE / "python"), str(ENTRYPOINT)], env=environment, stdout=out, stderr=out)
    try:
        wait_until_ready(port, container, log)
        key = (tmp_path / "first-admin-key").read_text().strip()
        assert stat.S_IMODE((tmp_path / "first-admin-key").stat().st_mode) == 0o600
        assert key not in log.read_text() and str(tmp_path / "first-admin-key") in log.read_text()
        assert answered(port, "/v1/keys") == 401
        assert answered(port, "/v1/keys", key) == 200
    finally:
        container.terminate()
        container.wait(120)


def test_a_missing_or_empty_secret_stops_the_start_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    stopped = start(
        tmp_path, ASKEW_FOLLOW_KEY_FILE="/run/secrets/replica-key", ASKEW_OTHER_FILE=str(tmp_path / "empty")
    )
    assert stopped.returncode == 1
    missing, empty = stopped.stderr.strip().splitlines()
    assert "ASKEW_FOLLOW_KEY_FILE" in missing and "/run/secrets/replica-key" in missing
    assert "ASKEW_OTHER_FILE" in empty and "it is empty" in empty
    assert not (tmp_path / "askew.db").exists()


def test_a_volume_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    stopped = start(tmp_path / "nowhere")
    assert stopped.returncode == 1
    assert str(tmp_path / "nowhere") in stopped.stderr and "fsGroup" in stopped.stderr


def test_the_image_without_the_demo_says_so(tmp_path: Path) -> None:
    stopped = start(tmp_path, DEMO="1")
    assert stopped.returncode == 1
    assert "--target demo" in stopped.stderr


def test_the_health_check_fails_where_nothing_answers() -> None:
    checked = check_health(free_port())
    assert checked.returncode == 1 and "did not answer" in checked.stdout


def test_without_the_demo_it_serves_an_empty_volume(tmp_path: Path) -> None:
    port = free_port()
    environment = {"PATH": f"{BARE}:/usr/bin:/bin", "ASKEW_DATA": str(tmp_path), "PORT": str(port)}
    log = tmp_path.parent / f"{tmp_path.name}.log"
    with log.open("wb") as out:
        container = subprocess.Popen([str(BARE / "python"), str(ENTRYPOINT)], env=environment, stdout=out, stderr=out)
    try:
        wait_until_ready(port, container, log)
    finally:
        container.terminate()
        container.wait(120)


def test_a_demo_that_cannot_be_described_stops_the_start(tmp_path: Path) -> None:
    environment = {"PATH": f"{BARE}:/usr/bin:/bin", "ASKEW_DATA": str(tmp_path), "DEMO": "1", "PYTHONPATH": str(DEMO)}
    environment["DEMO_DIR"] = str(tmp_path / "nowhere")
    stopped = subprocess.run(
        [str(BARE / "python"), str(ENTRYPOINT)], env=environment, capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 1
    assert "`" in stopped.stderr and "index` failed with exit code" in stopped.stderr
    assert not (tmp_path / ".demo-is-ready").exists()
