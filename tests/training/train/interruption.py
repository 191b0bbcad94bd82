"""A run that is stopped or killed at a step, resumed, and compared with one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.training.train.project import have_equal_tensors, log_lines, run_recipe

PROGRAM = """
import os, sys
from askew_client.main import main
from askew_training.train.run_log import RunLog
from tests.support import tiny_trunk  # timm then knows the tiny trunk

last_step, number = int(sys.argv.pop()), int(sys.argv.pop())
write = RunLog.write

def write_and_signal(self, kind, step, values):
    write(self, kind, step, values)
    if kind == "train" and step == last_step:
        os.kill(os.getpid(), number)

RunLog.write = write_and_signal
main()
"""
"""The command line, in a process that sends itself a signal after the log line of a step: before this step is saved."""


def stop_and_resume(folder: Path, recipe: str, number: signal.Signals, step: int) -> None:
    """Signal a run after the log line of a step, resume it, and compare it with a whole run."""
    (folder / "recipe.toml").write_text(recipe)
    options = ("--cache", folder / "cache", "--threads", 1)
    arguments = ("train", folder / "recipe.toml", folder / "stopped", *options, int(number), step)
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    stopped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert stopped.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), stopped.stderr
    assert [line["step"] for line in log_lines(folder / "stopped", "train")] == list(range(1, step + 1))
    if number == signal.SIGINT:
        assert "Stopped and saved" in stopped.stderr and "--resume" in stopped.stderr
    run_recipe(folder, recipe, "--resume", output="stopped")
    run_recipe(folder, recipe, output="whole")
    assert have_equal_tensors(folder / "whole" / "last.pt", folder / "stopped" / "last.pt")
    steps = log_lines(folder / "stopped", "train")
    assert steps[-1]["step"] == log_lines(folder / "whole", "train")[-1]["step"] > step
    # Ctrl-C saves the step that it arrives in; after a kill, the step is made again.
    assert len(steps) == steps[-1]["step"] + (0 if number == signal.SIGINT else 1)
