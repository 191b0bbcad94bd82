"""SIGTERM to the whole process group, as `timeout`, systemd and Slurm send it, ends a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.training.train.project import ASYMMETRIC, have_equal_tensors, run_recipe

PROGRAM = """
from askew_client.main import main
from tests.support import tiny_trunk  # timm then knows the tiny trunk
main()
"""
DEADLINE = 150


def wait_for_line(path: Path, text: str, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.02)


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_group_saves_the_run(folder: Path, number: signal.Signals) -> None:
    recipe = ASYMMETRIC.replace("epochs = 2", "epochs = 40")
    (folder / "recipe.toml").write_text(recipe)
    run = start("train", folder / "recipe.toml", folder / "stopped", "--cache", folder / "cache", "--threads", 1)
    wait_for_line(folder / "stopped" / "log.jsonl", '"kind": "train"', run)
    os.killpg(run.pid, number)
    errors = run.communicate(timeout=DEADLINE)[1]
    assert run.returncode == 130, errors
    assert "Stopped and saved" in errors
    assert "Traceback" not in errors and "DataLoader" not in errors
    # No process of the group is left.
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)
    (folder / "recipe.toml").write_text(recipe)
    assert (folder / "stopped" / "last.pt").exists()


@pytest.mark.slow
def test_a_run_stopped_by_sigterm_continues_as_if_it_had_not_been(folder: Path) -> None:
    (folder / "recipe.toml").write_text(ASYMMETRIC)
    run = start("train", folder / "recipe.toml", folder / "stopped", "--cache", folder / "cache", "--threads", 1)
    wait_for_line(folder / "stopped" / "log.jsonl", '"step": 2', run)
    os.killpg(run.pid, signal.SIGTERM)
    run.communicate(timeout=DEADLINE)
    run_recipe(folder, ASYMMETRIC, "--resume", "--threads", "1", output="stopped")
    run_recipe(folder, ASYMMETRIC, "--threads", "1", output="whole")
    assert have_equal_tensors(folder / "whole" / "last.pt", folder / "stopped" / "last.pt")
