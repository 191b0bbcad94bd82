"""The recipes and the experiment `matching`, on small photos."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from askew_training.experiment.plan import read_experiment
from askew_training.recipes import shipped_recipes
from tests.support.tiny_trunk import TINY_TRUNK
from tests.training.train.project import log_lines, run_recipe

MATCHING = {name: path for name, path in shipped_recipes().items() if name.startswith("matching/")}
SMALLER = {
    r'trunk = "[^"]*"': f'trunk = "{TINY_TRUNK}"',
    r'weights = "[^"]*"': 'weights = "random"',
    r'manifest = "[^"]*"': 'folders = ["walls"]',
    r'photos = \["[^"]*"\]': 'photos = ["pool"]',
    r"validation_distractors = \d+": "validation_distractors = 2",
    r"photo_size = 288": "photo_size = 128",
    r"photo_size = (160|224)": "photo_size = 96",
    r"photos = \d+": "photos = 12",
    r"epochs = 20": "epochs = 1",
    r"warmup_steps = \d+": "warmup_steps = 1",
}


def test_the_experiment_compares_all_of_them() -> None:
    loaded = read_experiment("matching")
    assert {f"matching/{name}" for name in loaded.recipes} == set(MATCHING)
    assert {path.parent.name for path in loaded.recipes.values()} == {"matching"}


@pytest.mark.slow
def test_they_train_for_the_same_number_of_steps(folder: Path) -> None:
    """`vectors` are those that the control's teacher, the same, made of whole photos."""
    steps = {}
    for name, path in MATCHING.items():
        text = path.read_text(encoding="utf-8")
        for pattern, smaller in SMALLER.items():
            text = re.sub(pattern, smaller, text)
        if not (folder / "vectors").exists():
            run_recipe(folder, re.sub(r'vectors = "vectors"\n', "", text), output="first")
            (made,) = (folder / "cache" / "teacher-vectors").iterdir()
            shutil.copytree(made, folder / "vectors")
        run_recipe(folder, text, output=Path(name).name)
        steps[name] = len(log_lines(folder / Path(name).name, "train"))
    assert len(steps) == 5 and len(set(steps.values())) == 1
