"""Resuming a run that was stopped or killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.training.train.interruption import stop_and_resume
from tests.training.train.project import ASYMMETRIC, MINED, SYMMETRIC

AVERAGED = ASYMMETRIC.replace("epochs = 2", "epochs = 2\nema = 0.9")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "number", "step"),
    [(SYMMETRIC, signal.SIGKILL, 6), (AVERAGED, signal.SIGINT, 6), (MINED, signal.SIGKILL, 5)],
    ids=["symmetric, kill -9", "asymmetric, averaged, ctrl-c", "mined, kill -9"],
)
def test_a_resumed_run_equals_one_that_was_not_stopped(
    folder: Path, recipe: str, number: signal.Signals, step: int
) -> None:
    stop_and_resume(folder, recipe, number, step)
