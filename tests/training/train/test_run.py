"""Runs that are refused before the first epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from askew_training.errors import DataError, RecipeError
from tests.support.training_helpers import picture
from tests.training.train.project import ASYMMETRIC, MINED, run_recipe


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('head = "ridge"', 'head = "none"'), r"The network has \d+ dimensions and its teacher 8"),
        (('head = "ridge"', "projection = 8"), "have signs .* never negative.* below 0.71"),
    ],
)
def test_a_student_that_cannot_reach_its_teacher_is_refused(
    folder: Path, change: tuple[str, str], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        run_recipe(folder, ASYMMETRIC.replace(*change))


def test_vectors_that_lack_photos_are_refused(folder: Path) -> None:
    Image.fromarray(picture(80, 80)).save(folder / "pool" / "new.png")
    with pytest.raises(RecipeError, match=r"lack 1 of \d+ photos, such as pool/new.png. .*askew cache"):
        run_recipe(folder, ASYMMETRIC)


@pytest.mark.parametrize(
    ("loss", "photos", "sentence"),
    [
        ('name = "relational-distillation"', 1, "expected 3 or more in a batch, got 1"),
        ('name = "dark-rank"\nlength = 6', 6, "expected 7 or more in a batch, got 6"),
        ('name = "d3still"', 9, "expected 10 or more in a batch, got 9"),
    ],
)
def test_a_batch_that_is_too_small_for_a_loss_is_refused(folder: Path, loss: str, photos: int, sentence: str) -> None:
    recipe = ASYMMETRIC.replace('name = "regression"', loss).replace("photos = 6", f"photos = {photos}")
    with pytest.raises(RecipeError, match=sentence):
        run_recipe(folder, recipe)
    assert not (folder / "out" / "log.jsonl").exists()


def test_tuples_of_photos_without_pairs_are_refused(folder: Path) -> None:
    for instance in (folder / "walls").iterdir():
        for photo in sorted(instance.iterdir())[1:]:
            photo.unlink()
    with pytest.raises(DataError, match="two photos"):
        run_recipe(folder, MINED)
    assert not (folder / "out" / "log.jsonl").exists()
