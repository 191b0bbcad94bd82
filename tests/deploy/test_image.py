"""The server image itself: built from its Dockerfile without a container engine, and started as its user.

Only `make test-slow` runs this: it bootstraps a Debian and installs the packages, which takes some minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.engineless import Builder, Image, ask_to_stop, what_is_missing
from tests.support.free_ports import free_port
from tests.support.paths import DEMO, ROOT

DOCKERFILE = ROOT / "deploy/server.Dockerfile"
USER = 10001

pytestmark = [pytest.mark.drill, pytest.mark.timeout(5400)]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    if missing := what_is_missing():
        pytest.skip(f"!! NOT RUN: no image can be built here: {missing}")
    folder = tmp_path_factory.mktemp("images")
    yield Builder(folder)
    # Gigabytes, which pytest would keep for three runs.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def demo_image(builder: Builder) -> Image:
    return builder.build(DOCKERFILE, "demo")


@pytest.fixture(scope="module")
def server_image(builder: Builder) -> Image:
    return builder.build(DOCKERFILE, "server")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A new volume, which an engine gives to the owner of the image's folder."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    folder = tmp_path / "nothing"
    folder.mkdir()
    return folder


@contextmanager
def running(image: Image, volume: Path, more: Path, **environment: str) -> Iterator[int]:
    port = free_port()
    log = volume.parent / "container.log"
    with log.open("wb") as out:
        started = image.start(volume, more, {"PORT": str(port), **environment}, stdout=out, stderr=out)
    try:
        wait_until_ready(image, port, started, log)
        yield port
        ask_to_stop(started)
        assert started.wait(120) in (0, 143), log.read_text()
    finally:
        started.kill()
        started.wait()


def wait_until_ready(image: Image, port: int, started: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert started.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"not ready in time:\n{log.read_text()}")


def test_the_image_says_what_the_dockerfile_says(server_image: Image, demo_image: Image) -> None:
    for image in (server_image, demo_image):
        assert image.configuration["User"] == str(USER)
        assert list(image.configuration["Volumes"]) == ["/data"]
        assert not [each for each in image.configuration["Env"] if "PIP" in each or "CERT" in each]
    assert "DEMO=1" in demo_image.configuration["Env"] and "DEMO=1" not in server_image.configuration["Env"]


def test_nothing_that_builds_or_trains_is_in_it(server_image: Image) -> None:
    programs = {
        path.name
        for folder in ("usr/bin", "usr/local/bin", "opt/askew/bin")
        for path in (server_image.tree / folder).iterdir()
    }
    assert not programs & {"pip", "pip3", "gcc", "cc", "make", "git", "curl", "wget"}
    (packages,) = (server_image.tree / "opt/askew/lib").glob("python3.*/site-packages")
    installed = {path.name for path in packages.iterdir()}
    assert not installed & {"pip", "torch", "askew_training", "pytest"}
    assert {"askew_client", "askew_server", "faiss", "onnxruntime"} <= installed


def test_it_runs_as_its_user_without_rights_on_a_read_only_root(
    server_image: Image, volume: Path, nothing: Path
) -> None:
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups()); open('/tmp/x', 'w'); open('/data/x', 'w')"
    done = server_image.run(volume, nothing, "python", "-c", code)
    assert (done.returncode, done.stdout) == (0, f"{USER} {USER} []\n"), done.stderr
    for place in ("/x", "/opt/askew/x", "/usr/local/lib/askew/x"):
        refused = server_image.run(volume, nothing, "python", "-c", f"open({place!r}, 'w')")
        assert "Read-only file system" in refused.stderr or "Permission denied" in refused.stderr
    rights = server_image.run(volume, nothing, "python", "-c", "print(open('/proc/self/status').read())").stdout
    assert "CapEff:\t0000000000000000" in rights and "CapBnd:\t0000000000000000" in rights
    assert "NoNewPrivs:\t1" in rights


def test_the_server_image_serves_an_empty_volume_and_stops_when_asked(
    server_image: Image, volume: Path, nothing: Path
) -> None:
    with running(server_image, volume, nothing, FIRST_KEY="1") as port:
        healthy = server_image.run(volume, nothing, *server_image.health, PORT=str(port))
        assert healthy.returncode == 0, healthy.stdout + healthy.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert b"<title>Askew" in answer.read()
        assert (volume / "first-admin-key").stat().st_uid == USER
    unhealthy = server_image.run(volume, nothing, *server_image.health, PORT=str(port))
    assert unhealthy.returncode == 1 and "did not answer" in unhealthy.stdout


def test_the_demo_image_describes_its_gallery_and_shows_a_phone_the_way(
    demo_image: Image, volume: Path, tmp_path: Path
) -> None:
    demo = tmp_path / "demo"
    (demo / "gallery").mkdir(parents=True)
    # A tenth of the photos; all encoders, from the image.
    photos = sorted((DEMO / "gallery").glob("*.jpg"))[::10]
    for photo in photos:
        shutil.copy(photo, demo / "gallery")
    (demo / "encoders").symlink_to("/usr/share/askew/demo/encoders")
    wanted = {f"gallery/{photo.name}" for photo in photos}
    lines = (DEMO / "credits.csv").read_text().splitlines(keepends=True)
    (demo / "credits.csv").write_text(
        "".join([lines[0], *(line for line in lines if any(each in line for each in wanted))])
    )
    with running(demo_image, volume, demo, DEMO_DIR="/mnt", PHONE_HOST="192.168.1.20") as port:
        key = (volume / ".phone-key").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/galleries/demo", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            gallery = json.load(answer)
        assert gallery["items"] == len(photos) and gallery["admitted_encoders"]
        log = (volume.parent / "container.log").read_text()
        assert f"https://192.168.1.20:8443/#key={key}" in log and "█" in log


def test_the_one_shot_service_makes_the_authority(demo_image: Image, volume: Path, nothing: Path) -> None:
    command = ("python", "/usr/local/lib/askew/authority.py", "/data/certificates")
    done = demo_image.run(volume, nothing, *command, PHONE_HOST="192.168.1.20")
    assert done.returncode == 0 and "phones do not trust it yet" in done.stdout, done.stderr
    assert (volume / "certificates/authority.key").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_missing_stops_the_start(server_image: Image, volume: Path, nothing: Path) -> None:
    done = server_image.run(
        volume, nothing, *server_image.configuration["Entrypoint"], ASKEW_MILVUS_TOKEN_FILE="/run/secrets/milvus-token"
    )
    assert done.returncode == 1
    assert "ASKEW_MILVUS_TOKEN_FILE" in done.stderr and "milvus-token" in done.stderr
