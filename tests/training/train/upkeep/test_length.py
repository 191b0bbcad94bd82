"""Runs that end by minutes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from askew_training.errors import RecipeError
from askew_training.train import loop
from askew_training.train.checkpoints import Progress
from askew_training.train.loop import Trainer
from askew_training.train.recipe import read_recipe
from askew_training.train.run import prepare
from tests.training.train.project import ASYMMETRIC, log_lines

MINUTES = ASYMMETRIC.replace("epochs = 2", "minutes = 0.15").replace(
    "learning_rate = 1e-3", 'learning_rate = 1e-3\nschedule = "cosine"'
)


@pytest.mark.slow
def test_a_run_of_minutes_ends_in_the_step_in_which_they_are_over_and_its_rate_ends_at_nought(folder: Path) -> None:
    (folder / "recipe.toml").write_text(MINUTES)
    (folder / "out").mkdir()

    def train(resume: bool) -> None:
        run = prepare(read_recipe(folder / "recipe.toml"), folder / "cache", lambda _: None)
        # Every look at the clock takes a second.
        Trainer(run, folder / "out", resume, clock=lambda: float(next(seconds))).train()

    seconds = itertools.count()
    train(resume=False)
    steps = log_lines(folder / "out", "train")
    progress = torch.load(folder / "out" / "last.pt", weights_only=True)["training"]["progress"]
    assert progress["seconds"] == 9.0 and len(steps) == 9
    assert steps[0]["rate"] == 1.0 and 0 < steps[-1]["rate"] < 0.1
    assert log_lines(folder / "out", "validation")[-1]["step"] == 9
    # Resumed, nothing is left to do.
    train(resume=True)
    assert len(log_lines(folder / "out", "train")) == 9


@pytest.mark.slow
def test_a_run_with_slow_steps_is_saved_every_five_minutes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "recipe.toml").write_text(ASYMMETRIC.replace("save_each_steps = 1", "save_each_steps = 1000"))
    (folder / "out").mkdir()
    saved: list[int] = []

    def save(_: Path, __: object, progress: Progress, *others: object) -> None:
        saved.append(progress.steps)

    monkeypatch.setattr(loop, "save_last", save)
    run = prepare(read_recipe(folder / "recipe.toml"), folder / "cache", lambda _: None)
    minutes = itertools.count(step=100)
    Trainer(run, folder / "out", resume=False, clock=lambda: float(next(minutes))).train()
    steps = len(log_lines(folder / "out", "train"))
    within = [step for step in saved if step % run.batches_each_epoch]
    assert steps >= 8 and within and max(np.diff([0, *saved])) <= 3


@pytest.mark.parametrize("text", ["", "epochs = 2\nminutes = 3\n"])
def test_a_run_ends_either_by_epochs_or_by_minutes(folder: Path, text: str) -> None:
    (folder / "recipe.toml").write_text(ASYMMETRIC.replace("epochs = 2\n", text))
    with pytest.raises(RecipeError, match="a run ends by `epochs` or by `minutes`: expected one of them"):
        read_recipe(folder / "recipe.toml")
