"""`make demo CHECK=1`, as it is, in the interpreter that runs the tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.paths import ROOT

RUN = [sys.executable, str(ROOT / "demo/run.py")]


def environment(port: int, data: Path, check: str) -> dict[str, str]:
    return {**os.environ, "PORT": str(port), "DEMO_DATA": str(data), "CHECK": check}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "data"


@pytest.fixture(scope="module")
def first_run(data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(RUN, env=environment(free_port(), data, "1"), capture_output=True, text=True, check=False)


def test_four_landmarks_come_first_and_the_fifth_is_among_the_best_three(
    first_run: subprocess.CompletedProcess[str],
) -> None:
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert "4 of 5 landmarks came first, 5 were among the best three." in first_run.stdout
    assert first_run.stdout.count("✓") == 5


@pytest.mark.usefixtures("first_run")
def test_a_second_run_describes_nothing_and_stays_up_until_ctrl_c(data: Path) -> None:
    port = free_port()
    photos = {path: path.stat().st_mtime_ns for path in (data / "galleries/demo/photos").rglob("*.jpg")}
    assert photos
    demo = subprocess.Popen(RUN, env=environment(port, data, ""), stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        printed = ""
        for line in demo.stdout:
            printed += line
            if "until you press Ctrl-C" in line:
                break
        # The indexing, which took half a minute the first time, is not repeated.
        assert "0 files taken" in printed, printed
        assert {path: path.stat().st_mtime_ns for path in photos} == photos
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            assert answer.status == 200
        demo.send_signal(signal.SIGINT)
        assert demo.wait(120) == 0
    finally:
        if demo.poll() is None:
            demo.kill()
        demo.communicate()
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


def test_a_busy_port_is_one_sentence_and_nothing_is_indexed(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        refused = subprocess.run(
            RUN, env=environment(port, tmp_path / "data", "1"), capture_output=True, text=True, check=False
        )
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert str(port) in refused.stderr and "PORT=" in refused.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("port", ["http", "0", "70000"])
def test_an_invalid_port_is_reported_in_one_sentence(port: str) -> None:
    refused = subprocess.run(RUN, env={**os.environ, "PORT": port}, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"PORT={port} is not a port")
