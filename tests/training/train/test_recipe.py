"""Recipes that are refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.errors import RecipeError
from tests.training.train.project import ASYMMETRIC, SYMMETRIC, run_recipe


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("epochs = 2", "epochs = 2\nepoch = 2"), "it has an unknown key, `run.epoch`"),
        (('weights = "random"\n', ""), 'a trunk needs `weights`: a file, a package, "timm" or "random", at `network`'),
        (("instances = 3\nunlabelled = 2", "photos = 8"), "the loss contrastive needs pairs"),
        (('references = "student"', 'references = "teacher"'), "this recipe learns from a teacher: add"),
        (("steps_each_epoch = 4\n", ""), "have no natural end: add `steps_each_epoch`"),
        (('folders = ["walls"]\n', ""), "needs to know what photos show: add `manifest`, `folders`"),
        (('head = "random"\ndim = 8', 'head = "random"'), 'a head of kind "random" needs `dim`'),
        (
            ('name = "contrastive"', 'name = "magic"'),
            "unknown loss 'magic', at `losses.0`: expected one of 'contrastive', .*'second-order-regression'",
        ),
        (("learning_rate = 1e-3", "learning_rate = -1"), "optimiser.learning_rate"),
        (('photos = ["pool"]', 'photos = ["lake"]'), "`data.photos` names .*lake, which does not exist"),
        (("[data]", "[data"), "is not a TOML file"),
        (("[data]", "x = " + "[" * 5000 + "\n[data]"), "is not a TOML file"),
        (("instances = 3\nunlabelled = 2", "tuples = 3"), r"`tuples` in \[batches\] and the table \[mining\]"),
        (("instances = 3\nunlabelled = 2", "instances = 3\ntuples = 3"), "expected one of `photos`, `instances`"),
    ],
)
def test_an_impossible_recipe_is_refused(folder: Path, change: tuple[str, str], sentence: str) -> None:
    assert change[0] in SYMMETRIC
    with pytest.raises(RecipeError, match=sentence):
        run_recipe(folder, SYMMETRIC.replace(*change))
    assert not (folder / "out").exists()


def test_neighbours_among_all_photos_need_a_number(folder: Path) -> None:
    loss = 'name = "contextual-similarity"\namong = "all"'
    with pytest.raises(RecipeError, match=r'among "all" needs the number of `neighbours`, at `losses\.0'):
        run_recipe(folder, ASYMMETRIC.replace('name = "regression"', loss))


@pytest.mark.parametrize(
    ("right", "wrong", "hint"),
    [
        ("learning_rate", "learning_rat", "`optimiser.learning_rat`: did you mean `learning_rate`?"),
        ("epochs", "epoch", "`run.epoch`: did you mean `epochs`?"),
        ("[batches]", "[batch]", "`batch`: did you mean `batches`?"),
        ("margin", "margn", "margn`: did you mean `margin`?"),
        ("photo_size", "foto_size", "did you mean `photo_size`?"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_one(tmp_path: Path, right: str, wrong: str, hint: str) -> None:
    from askew_training.train.recipe import read_recipe
    from tests.training.train.project import SYMMETRIC

    (tmp_path / "recipe.toml").write_text(SYMMETRIC.replace(right, wrong, 1))
    with pytest.raises(RecipeError) as error:
        read_recipe(tmp_path / "recipe.toml")
    assert hint in str(error.value)
