"""`askew export` that is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from askew_training.networks.checkpoint import save_checkpoint
from tests.support.paths import ROOT
from tests.support.training_helpers import checkpoint_of, tiny_network

DEADLINE = 120.0


@pytest.mark.slow
def test_sigterm_during_an_export_leaves_nothing_behind(tmp_path: Path) -> None:
    """The graph of a large teacher fills the folder for temporary files, otherwise once for each stopped job."""
    save_checkpoint(tmp_path / "teacher.pt", checkpoint_of(tiny_network(trunk="mobilenetv2_100")))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    card = ("--role", "teacher", "--name", "a", "--version", "1", "--licence", "CC0")
    files = (str(tmp_path / "teacher.pt"), str(tmp_path / "out.onnx"))
    command = [sys.executable, "-m", "askew_client.main", "export", *files, *card]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    run = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + DEADLINE
    while not any(temporary.iterdir()):
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    errors = run.communicate(timeout=DEADLINE)[1]
    assert run.returncode == 130 and "stopped" in errors and "Traceback" not in errors
    assert not list(temporary.iterdir()) and not (tmp_path / "out.onnx").exists()
