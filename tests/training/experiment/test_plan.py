"""What an experiment's file says, and the cells that follow from it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from askew_training.errors import DataError, RecipeError
from askew_training.experiment.cells import recipe_text
from askew_training.experiment.grid import choose, grid_of
from askew_training.experiment.plan import read_experiment
from askew_training.losses.contrastive import ContrastiveTable
from askew_training.losses.margins import active_share, margin_of
from askew_training.losses.triplet import TripletTable
from askew_training.train.recipe import Recipe
from tests.support.training_helpers import unit_vectors
from tests.training.experiment.project import EXPERIMENT, make_experiment
from tests.training.experiment.records import record_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("experiment")
    make_experiment(made)
    return made


@pytest.mark.parametrize("name", ["small", "paper"])
def test_every_cell_of_a_shipped_experiment_is_a_valid_recipe(name: str) -> None:
    grid = grid_of(read_experiment(name))
    margins = {recipe: {0.3: 1.1, 0.6: 1.2} for recipe in grid.with_margin()}
    cells = [*grid.tuning(margins), *grid.final({recipe: {"rate": 3.0} for recipe in grid.bases})]
    for cell in cells:
        recipe = Recipe.model_validate(tomllib.loads(cell.text))
        assert recipe.seed == cell.seed
    assert len({cell.name for cell in cells}) == len(cells) == len({cell.digest for cell in cells})
    assert sum(cell.stage == "final" for cell in cells) == 3 * len(grid.bases)


def test_small_tries_three_rates_and_two_margins_and_keeps_its_held_out_instances() -> None:
    grid = grid_of(read_experiment("small"))
    cells = grid.tuning({recipe: {0.3: 1.1, 0.6: 1.2} for recipe in grid.with_margin()})
    by_recipe = {recipe: sum(cell.recipe == recipe for cell in cells) for recipe in grid.bases}
    assert by_recipe["contrastive"] == by_recipe["symmetric-512"] == 6 and by_recipe["regression"] == 3
    recipes = [Recipe.model_validate(tomllib.loads(cell.text)) for cell in [*cells, *grid.final({"regression": {}})]]
    assert {recipe.held_out_seed for recipe in recipes} == {0}
    assert {recipe.run.epochs for recipe in recipes[: len(cells)]} == {1} and recipes[-1].run.epochs == 2
    assert sorted({recipe.optimiser.learning_rate for recipe in recipes if recipe.name == "regression"}) == [
        1e-4, 3e-4, 9e-4,
    ]  # fmt: skip


def test_a_shorter_run_has_fewer_epochs_or_where_there_are_none_to_spare_fewer_steps() -> None:
    base = 'name = "x"\n[optimiser]\nlearning_rate = 1e-3\n[run]\nepochs = {}\nsteps_each_epoch = 10\n[mining]\nqueries = 8\n'
    four = tomllib.loads(recipe_text(base.format(4), "", {}, {"seed": 1, "length": 0.5}))
    assert (four["run"]["epochs"], four["run"]["steps_each_epoch"], four["seed"]) == (2, 10, 1)
    one = tomllib.loads(recipe_text(base.format(1), "", {}, {"seed": 1, "length": 0.3}))
    assert (one["run"]["epochs"], one["run"]["steps_each_epoch"]) == (1, 3)


@pytest.mark.parametrize("table", [
    ContrastiveTable(name="contrastive", references="teacher"),
    ContrastiveTable(name="contrastive", references="teacher", form="similarity"),
    TripletTable(name="triplet", references="teacher"),
])  # fmt: skip
def test_a_margin_makes_the_chosen_share_of_the_negatives_active(table: ContrastiveTable | TripletTable) -> None:
    anchors, positives, negatives = (unit_vectors(400, 16, seed) for seed in range(3))
    positives = (anchors + 0.3 * positives) / np.linalg.norm(anchors + 0.3 * positives, axis=1, keepdims=True)
    to_positives = np.einsum("qd,qd->q", anchors, positives)
    to_negatives = (anchors @ negatives.T)[:, :5]
    all_there = np.ones_like(to_negatives, dtype=np.bool_)
    for share in (0.3, 0.6):
        margin = margin_of(table, share, to_positives, to_negatives, all_there)
        assert active_share(table, margin, to_positives, to_negatives, all_there) == pytest.approx(share, abs=0.002)
    with pytest.raises(DataError, match=r"No margin of .* has 99 % of the mined negatives active"):
        margin_of(TripletTable(name="triplet", references="teacher"), 0.99, to_positives + 9, to_negatives, all_there)


def test_the_settings_with_the_best_score_on_held_out_instances_are_chosen() -> None:
    records = [
        record_of("a", score=0.3, rate=1.0),
        record_of("a", score=0.5, rate=3.0),
        record_of("a", score=None, rate=9.0),
        record_of("b", score=0.9, rate=0.3),
        record_of("a", score=0.99, rate=7.0, stage="final"),
    ]
    assert choose("a", records) == {"rate": 3.0}
    assert choose("a", records[2:3]) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [3, 4]", "seeds = [3, 3]", "each seed may occur once"),
        ("seeds = [3, 4]", "seed = [3, 4]", "Field required, at `seeds`|not permitted, at `seed`"),
        ('"tiny-student.toml"]', '"absent.toml"]', "names the recipe absent.toml, but there is no file"),
        ('"tiny-student.toml"]', '"small/regresion"]', "'small/regresion', which is not shipped"),
        ('than = "tiny-student"', 'than = "student"', "speaks of 'student', which is none of its recipes"),
        ('manifest = "measured/manifest.csv"', "", "expected either `manifest`, or `revisited` and `root`"),
        ("name = ", "name == ", "is not a TOML file"),
    ],
)
def test_a_mistake_in_the_file_is_named(folder: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in EXPERIMENT
    for recipe in folder.glob("tiny-*.toml"):
        (tmp_path / recipe.name).write_text(recipe.read_text())
    (tmp_path / "x.toml").write_text(EXPERIMENT.replace(old, new, 1))
    with pytest.raises(RecipeError, match=message):
        read_experiment(str(tmp_path / "x.toml"))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no experiment 'smal'. Expected one of matching, paper, small, or the path"):
        read_experiment("smal")
