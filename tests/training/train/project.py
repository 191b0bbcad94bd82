"""A small project to train on: photos, a teacher's vectors of them, and recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from askew_training.cli.train import train
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.npy_import import import_npy
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import SPACE, picture, run_command, unit_vectors

INSTANCES, EACH, UNLABELLED = 8, 4, 6
"""Of these eight instances, a share of 0.3 with seed 0 holds out two."""

SYMMETRIC = f"""
name = "tiny-teacher"
[network]
trunk = "{TINY_TRUNK}"
weights = "random"
head = "random"
dim = 8
[data]
folders = ["walls"]
photos = ["pool"]
licences = "licences.toml"
held_out = 0.3
validation_distractors = 2
[batches]
photo_size = 96
instances = 3
unlabelled = 2
[augmentation]
smallest_crop = 0.6
colour = 0.2
[[losses]]
name = "contrastive"
references = "student"
form = "similarity"
margin = 0.3
[optimiser]
name = "adamw"
learning_rate = 1e-3
[run]
epochs = 2
steps_each_epoch = 4
save_each_steps = 1
[encoder]
photo_size = 96
"""

ASYMMETRIC = (
    SYMMETRIC.replace("tiny-teacher", "tiny-student")
    .replace('head = "random"\ndim = 8', 'head = "ridge"')
    .replace("[data]", '[teacher]\nvectors = "vectors"\n[data]')
    .replace("instances = 3\nunlabelled = 2", "photos = 6")
    .replace("steps_each_epoch = 4\n", "")
    .replace('name = "contrastive"\nreferences = "student"\nform = "similarity"\nmargin = 0.3', 'name = "regression"')
)

MINED = (
    ASYMMETRIC.replace("tiny-student", "tiny-mined")
    .replace("photos = 6\n", "tuples = 3\n[mining]\nqueries = 8\nnegatives = 2\npool = 20\n")
    .replace('name = "regression"', 'name = "contrastive"\nreferences = "teacher"\nmargin = 1.3')
)

MINED_SYMMETRIC = (
    SYMMETRIC.replace("tiny-teacher", "tiny-mined-teacher")
    .replace("steps_each_epoch = 4\n", "")
    .replace("instances = 3\nunlabelled = 2", "tuples = 3\n[mining]\nqueries = 8\nnegatives = 2\npool = 20")
)


def make_project(folder: Path) -> None:
    """Make eight instances of four similar photos, six unlabelled ones, and a teacher's vectors of all."""
    ids = []
    for instance in range(INSTANCES):
        base = picture(72, 96, seed=instance).astype(int)
        for number in range(EACH):
            noise = np.random.default_rng(number).integers(-20, 20, base.shape)
            path = folder / "walls" / f"wall{instance}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(path, quality=95)
            ids.append(f"walls/wall{instance}/{number}.jpg")
    (folder / "pool").mkdir()
    for number in range(UNLABELLED):
        Image.fromarray(picture(96, 72, seed=100 + number)).save(folder / "pool" / f"{number}.png")
        ids.append(f"pool/{number}.png")
    (folder / "licences.toml").write_text('[licences]\nwalls = "CC0"\npool = "CC0"\n')
    import_vectors(folder, ids, unit_vectors(len(ids), 8, 0))


def import_vectors(folder: Path, ids: list[str], vectors: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Make the cache `vectors` of teacher vectors, float32 [n, D]."""
    np.save(folder / "vectors.npy", vectors.T)
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    import_npy(folder / "vectors.npy", folder / "ids.txt", SPACE, folder / "vectors", Dtype.f32, 96)


def run_recipe(folder: Path, recipe: str, *options: str, output: str = "out") -> str:
    """Run `askew train` on a recipe in a project. Returns what it printed."""
    (folder / "recipe.toml").write_text(recipe)
    arguments = (folder / "recipe.toml", folder / output, "--cache", folder / "cache")
    return run_command(train, *arguments, *options).output


def log_lines(folder: Path, kind: str) -> list[dict[str, float]]:
    """The lines of one kind in the log of a run."""
    written = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in written if line["kind"] == kind]


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["tensors"]
    return content


def have_equal_tensors(one: Path, other: Path) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
