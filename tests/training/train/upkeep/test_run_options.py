"""What a run can do beside its steps: average its weights, time its parts, and read in several processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training.train.project import ASYMMETRIC, have_equal_tensors, run_recipe, tensors_of

AVERAGED = ASYMMETRIC.replace("epochs = 2", "epochs = 2\nema = 0.9")


@pytest.mark.slow
def test_the_average_is_kept_in_place_of_the_weights(folder: Path) -> None:
    run_recipe(folder, ASYMMETRIC, output="plain")
    run_recipe(folder, AVERAGED, output="whole")
    plain, whole = tensors_of(folder / "plain" / "last.pt"), folder / "whole" / "last.pt"
    learning = torch.load(whole, weights_only=True)["training"]["learning"]
    # The training itself is the same; what is kept is the average.
    assert all(torch.equal(plain[name], learning[name]) for name in plain)
    assert not have_equal_tensors(folder / "plain" / "last.pt", whole)
    assert learning.keys() == tensors_of(whole).keys()


@pytest.mark.slow
def test_profile_writes_a_table_and_a_trace(folder: Path) -> None:
    printed = run_recipe(folder, ASYMMETRIC.replace("epochs = 2", "epochs = 3"), "--profile")
    table = (folder / "out" / "profile.txt").read_text()
    assert table in printed
    names = [line.split()[0] for line in table.splitlines()[1:]]
    assert names == ["reading", "augmentation", "teacher", "forward", "backward", "step", "rest"]
    shares = [float(line.split("ms")[1].split("%")[0]) for line in table.splitlines()[1:]]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    events = {event["name"] for event in json.loads((folder / "out" / "trace.json").read_text())["traceEvents"]}
    assert {"reading", "forward", "backward", "step"} <= events


@pytest.mark.slow
def test_several_processes_that_read_change_nothing(folder: Path) -> None:
    run_recipe(folder, ASYMMETRIC, output="one")
    printed = run_recipe(folder, ASYMMETRIC, "--readers", "2", output="two")
    assert have_equal_tensors(folder / "one" / "last.pt", folder / "two" / "last.pt")
    assert "[0:00] loading torch" in printed
