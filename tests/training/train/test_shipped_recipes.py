"""Every recipe in `training/recipes`, run for a few steps on small photos and tiny sets in the published layout."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from askew_training.cli.train import train
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.train.recipe import Recipe
from tests.support.paths import ROOT
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import SPACE, picture, run_command, unit_vectors
from tests.training.train.project import import_vectors, log_lines

RECIPES = ROOT / "training" / "askew_training" / "recipes"
ALL = [path for path in sorted(RECIPES.rglob("*.toml")) if path.name != "licences.toml"]
TRAINED = [path for path in ALL if path.parent.name in ("paper", "small")]

SMALLER = {
    r'checkpoint = "retrieval[^"]*"\nphoto_size = \d+': 'vectors = "vectors"',
    r'weights = "[^"]*"': 'weights = "random"',
    r"photo_size = \d+": "photo_size = 96",
    r"tuples = \d+": "tuples = 3",
    r"photos = \d+": "photos = 12",
    r"queries = \d+": "queries = 6",
    r"pool = \d+": "pool = 14",
    r"ranks = \d+": "ranks = 6",
    r"negatives = 5": "negatives = 3",
    r"subspaces = \d+\nbits = 8": "subspaces = 4\nbits = 3",
    r"subspaces = 32\nsharpness": "subspaces = 4\nsharpness",
    r"(name = \"structure-similarity\"\nsubspaces = )\d+\n(?!bits)": r"\g<1>4\nbits = 3\n",
    r"neighbours = (32|64)": "neighbours = 5",
    r"dim = \d+": "dim = 8",
    r"epochs = \d+": "epochs = 1",
    r"steps_each_epoch = \d+": "steps_each_epoch = 2",
    r"validation_distractors = \d+": "validation_distractors = 3",
    r'precision = "bf16"': 'precision = "fp32"',
    r"warmup_steps = \d+": "warmup_steps = 1",
}
"""Tiny photos, batches and sets. The losses, mining, head and optimiser of the recipe stay."""

WITH_ITS_OWN_TRUNK = "paper/contrastive"
"""EfficientNet-B3 with a projection. The others get a tiny trunk."""


def save(path: Path, seed: int, variant: int = 0) -> None:
    """Save a photo; those of one seed differ by noise."""
    base = picture(64, 48 if seed % 2 else 64, seed=seed).astype(int)
    noise = np.random.default_rng(variant).integers(-20, 20, base.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)


@pytest.fixture(scope="module")
def sfm120k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny retrieval-SfM-120k: six models of four photos, and two of four for validation."""
    folder = tmp_path_factory.mktemp("sfm120k")
    content: dict[str, dict[str, object]] = {}
    cids: list[str] = []
    for split, clusters, first in (("train", 6, 0), ("val", 2, 6)):
        names = [f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}" for number in range(4 * first, 4 * (first + clusters))]
        for number, name in enumerate(names):
            save(folder / "ims" / name[-2:] / name[-4:-2] / name[-6:-4] / name, first + number // 4, number)
        rows = range(len(names))
        content[split] = {
            "cids": names,
            "cluster": [row // 4 for row in rows],
            "qidxs": list(rows),
            "pidxs": [row // 4 * 4 + (row + 1) % 4 for row in rows],
        }
        cids += names
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(content, 2))
    # As of a teacher that ends in GeM: never negative.
    import_vectors(folder, cids, np.abs(unit_vectors(len(cids), 2048, 0)))
    (folder / "licences.toml").write_text((RECIPES / "paper" / "licences.toml").read_text())
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of eight things in three photos each, and twelve photos without a label."""
    folder = tmp_path_factory.mktemp("labelled")
    lines, ids = ["path,instance_id,role,benchmark,set"], []
    for number in range(24):
        name = f"walls/{number // 3}-{number}.jpg"
        save(folder / "data" / name, number // 3, number)
        lines.append(f"{name},wall{number // 3},train,train,walls")
        ids.append(name)
    for number in range(12):
        save(folder / "data" / "pool" / "lake" / f"{number}.jpg", 100 + number)
        ids.append(f"pool/lake/{number}.jpg")
    (folder / "data" / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "licences.toml").write_text('[licences]\nwalls = "CC0"\nlake = "CC0"\n')
    import_vectors(folder, ids, unit_vectors(len(ids), 64, 0))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", TRAINED, ids=[f"{path.parent.name}-{path.stem}" for path in TRAINED])
def test_a_shipped_recipe_trains(path: Path, sfm120k: Path, labelled: Path, tmp_path: Path) -> None:
    folder = sfm120k if path.parent.name == "paper" else labelled
    text = path.read_text()
    for pattern, smaller in SMALLER.items():
        text = re.sub(pattern, smaller, text)
    if f"{path.parent.name}/{path.stem}" != WITH_ITS_OWN_TRUNK:
        text = re.sub(r'trunk = "[^"]*"', f'trunk = "{TINY_TRUNK}"', text)
    recipe = folder / f"{path.stem}.toml"
    recipe.write_text(text)
    result = run_command(train, recipe, tmp_path / "out", "--cache", folder / "cache")
    assert result.exit_code == 0, result.output
    steps = log_lines(tmp_path / "out", "train")
    # A loss is left out of batches that are too small for it, so not every step has one.
    assert len(steps) == 2 and any(line.get("loss") and line["gradient_norm"] > 0 for line in steps)
    assert log_lines(tmp_path / "out", "validation")
    assert len(log_lines(tmp_path / "out", "mining")) == (1 if 'choose = "hard"' in text else 0)
    loaded = load_checkpoint(tmp_path / "out" / "last.pt")
    assert (loaded.space_id == SPACE) == ("[teacher]" in text)


@pytest.mark.parametrize("path", ALL, ids=[f"{path.parent.name}-{path.stem}" for path in ALL])
def test_a_shipped_recipe_is_valid(path: Path) -> None:
    Recipe.model_validate(tomllib.loads(path.read_text()))


def test_every_row_of_the_paper_has_a_recipe_and_a_small_one() -> None:
    paper = {path.stem for path in TRAINED if path.parent.name == "paper"}
    assert paper >= {
        "symmetric-resnet101", "symmetric-b3-512", "symmetric-b3-2048", "contrastive-plus", "contrastive", "triplet",
        "multi-similarity", "regression", "relational-distillation", "dark-rank",
    }  # fmt: skip
    small = {path.stem for path in TRAINED if path.parent.name == "small"}
    assert paper - {"symmetric-resnet101", "symmetric-b3-512", "symmetric-b3-2048"} <= small
