"""Every recipe that is shipped, started for a few steps on small photos and tiny sets of the published layout."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from accelerate.state import AcceleratorState
from PIL import Image
from typer.testing import CliRunner

from askew_training.cli.train import train
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.vectors.import_npy import import_npy
from askew_training.vectors.manifest import Dtype
from tests.support.paths import ROOT
from tests.support.training_helpers import TINY_TRUNK, picture

RECIPES = ROOT / "training" / "recipes"
SHIPPED = [path for path in sorted(RECIPES.rglob("*.toml")) if path.parent.name in ("paper", "small")]
SHIPPED = [path for path in SHIPPED if path.name != "licences.toml"]
SPACE = "sp1-" + "0" * 32

SMALLER = {
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
"""Tiny photos, batches and sets. What a recipe is about stays: its losses, mining, head and optimiser."""

WITH_THEIR_OWN_TRUNK = (
    "paper/symmetric-resnet101",
    "paper/contrastive",
    "small/regression",
    "small/mobilenetv3-contrastive",
)
"""The others share these trunks, and get a tiny one here."""


@pytest.fixture(autouse=True)
def _accelerate_as_in_a_new_process():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def photo(path: Path, seed: int, near: int = 0) -> None:
    base = picture(96, 72 if seed % 2 else 96, seed=seed).astype(int)
    noise = np.random.default_rng(near).integers(-20, 20, base.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)


@pytest.fixture(scope="module")
def sfm120k(tmp_path_factory) -> Path:
    """retrieval-SfM-120k in small: six models of four photos, and two of four for validation."""
    folder = tmp_path_factory.mktemp("sfm120k")
    content, cids = {}, []
    for split, clusters, first in (("train", 6, 0), ("val", 2, 6)):
        names = [f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}" for number in range(4 * first, 4 * (first + clusters))]
        for number, name in enumerate(names):
            photo(folder / "ims" / name[-2:] / name[-4:-2] / name[-6:-4] / name, first + number // 4, number)
        rows = range(len(names))
        content[split] = {
            "cids": names,
            "cluster": [row // 4 for row in rows],
            "qidxs": list(rows),
            "pidxs": [row // 4 * 4 + (row + 1) % 4 for row in rows],
        }
        cids += names
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(content, 2))
    teacher(folder, cids, dim=2048, signed=False)
    (folder / "licences.toml").write_text((RECIPES / "paper" / "licences.toml").read_text())
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    """A manifest of eight things in three photos each, and twelve photos without a label."""
    folder = tmp_path_factory.mktemp("labelled")
    lines, ids = ["path,instance_id,role,benchmark,set"], []
    for number in range(24):
        name = f"walls/{number // 3}-{number}.jpg"
        photo(folder / "data" / name, number // 3, number)
        lines.append(f"{name},wall{number // 3},train,train,walls")
        ids.append(name)
    for number in range(12):
        photo(folder / "data" / "pool" / "lake" / f"{number}.jpg", 100 + number)
        ids.append(f"pool/lake/{number}.jpg")
    (folder / "data" / "manifest.csv").write_text("\n".join(lines) + "\n")
    (folder / "licences.toml").write_text('[licences]\nwalls = "CC0"\nlake = "CC0"\n')
    teacher(folder, ids, dim=64, signed=True)
    return folder


def teacher(folder: Path, ids: list[str], dim: int, signed: bool) -> None:
    vectors = np.random.default_rng(0).normal(size=(dim, len(ids))).astype(np.float32)
    vectors = vectors if signed else np.abs(vectors)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=0))
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    import_npy(folder / "vectors.npy", folder / "ids.txt", SPACE, folder / "vectors", Dtype.f32, 96)


@pytest.mark.parametrize("path", SHIPPED, ids=[f"{path.parent.name}-{path.stem}" for path in SHIPPED])
def test_a_shipped_recipe_trains(path, sfm120k, labelled, tmp_path):
    folder = sfm120k if path.parent.name == "paper" else labelled
    text = path.read_text()
    for pattern, smaller in SMALLER.items():
        text = re.sub(pattern, smaller, text)
    if f"{path.parent.name}/{path.stem}" not in WITH_THEIR_OWN_TRUNK:
        text = re.sub(r'trunk = "[^"]*"', f'trunk = "{TINY_TRUNK}"', text)
    recipe = folder / f"{path.stem}.toml"
    recipe.write_text(text)
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, [str(recipe), str(tmp_path / "out"), "--cache", str(tmp_path / "cache")])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    steps = [line for line in log if line["kind"] == "train"]
    # A batch that is too small for a loss goes without it: it has no pairs, or no order, to learn from.
    assert len(steps) == 2 and any(line.get("loss") and line["gradient_norm"] > 0 for line in steps)
    assert [line for line in log if line["kind"] == "validation"]
    hard = 'choose = "hard"' in text
    assert len([line for line in log if line["kind"] == "mining"]) == (1 if hard else 0)
    loaded = load_checkpoint(tmp_path / "out" / "last.pt")
    assert (loaded.space_id == SPACE) == ("[teacher]" in text)


def test_there_is_a_recipe_for_every_row_of_the_paper_and_each_small_one_has_a_name_of_its_own():
    paper = {path.stem for path in SHIPPED if path.parent.name == "paper"}
    assert paper >= {
        "symmetric-resnet101", "symmetric-b3-512", "symmetric-b3-2048", "contrastive-plus", "contrastive", "triplet",
        "multi-similarity", "regression", "relational-distillation", "dark-rank",
    }  # fmt: skip
    small = {path.stem for path in SHIPPED if path.parent.name == "small"}
    assert paper - {"symmetric-resnet101", "symmetric-b3-512", "symmetric-b3-2048"} <= small
