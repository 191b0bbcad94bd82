"""`askew distil`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from askew_training.cli.distil import distil
from askew_training.cli.whiten import whiten
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from tests.support.training_helpers import checkpoint_of, run_command, tiny_network, words


@pytest.mark.slow
def test_a_distilled_student_stays_in_its_teachers_space(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    result = run_command(distil, whitened, tmp_path / "student.pt", "--learn-size", 96, *photos)
    assert "8 photos" in result.stdout
    teacher, student = load_checkpoint(whitened), load_checkpoint(tmp_path / "student.pt")
    assert student.space_id == teacher.space_id
    assert student.description.scales == (1.0,)
    assert student.description.photo_size == 224
    assert student.network.linear is not None and teacher.network.linear is not None
    assert not torch.equal(student.network.linear.weight, teacher.network.linear.weight)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--ridge", value) for value in ("nan", "inf", "0", "-1", "1e300")),
        ("--learn-size", 10**12),
        ("--photo-size", 10**12),
    ],
)
def test_numbers_that_nothing_can_be_learned_with_are_refused(tmp_path: Path, option: str, value: object) -> None:
    save_checkpoint(tmp_path / "teacher.pt", checkpoint_of(tiny_network(dim=4)))
    more = ("--learn-size", 96, option, value, "--licences", tmp_path / "none.toml", "--photos", tmp_path)
    refused = run_command(distil, tmp_path / "teacher.pt", tmp_path / "student.pt", *more)
    assert refused.exit_code == 2 and option in words(refused.output)


@pytest.mark.slow
def test_recipes_stay_with_a_network_that_is_whitened_and_distilled(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    trained = load_checkpoint(whitened)
    recipes = ("# the first\n", "# the second\n")
    description = trained.description.model_copy(update={"recipe_texts": recipes})
    start = tmp_path / "start.pt"
    save_checkpoint(start, replace(trained, description=description))
    run_command(distil, start, tmp_path / "student.pt", "--learn-size", 96, *photos)
    assert load_checkpoint(tmp_path / "student.pt").description.recipe_texts == recipes
    run_command(whiten, tmp_path / "again.pt", "--start", start, "--method", "given", "--dim", 2)
    assert load_checkpoint(tmp_path / "again.pt").description.recipe_texts == recipes
    two = ["--start", start, "--start", start, "--dim", 4, "--method", "pca", *photos]
    run_command(whiten, tmp_path / "two.pt", *two)
    assert load_checkpoint(tmp_path / "two.pt").description.recipe_texts == 2 * recipes
