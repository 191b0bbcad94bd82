"""A small project of photos, a teacher, recipes and a manifest to measure on, for experiments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.small_encoders import make_encoder
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import MANIFEST_HEADER, picture
from tests.training.train.project import ASYMMETRIC, MINED

SMALL_TRUNK = "test_efficientnet"
"""Of timm: trainings run in processes of their own, which do not know the tests' own trunk."""

EXPERIMENT = """
name = "tiny"
recipes = ["tiny-mined.toml", "tiny-student.toml"]
seeds = [3, 4]
start_of = "tiny-student"

[teacher]
encoder = "teacher.onnx"
dtype = "f32"

[changes.data]
held_out_seed = 0

[tuning]
rates = [1.0, 10.0]
length = 0.5

[[datasets]]
manifest = "measured/manifest.csv"

[[claims]]
sentence = "Contr beats regression"
method = "tiny-mined"
testing = "asymmetric"
relation = "better"
than = "tiny-student"
"""


def make_experiment(folder: Path) -> None:
    """Eight walls of four photos and six unlabelled photos to train on; four other walls to measure on."""
    make_encoder(folder / "teacher.onnx", role="teacher", dim=8, photo_size=96)
    for wall in range(8):
        for number in range(4):
            save(folder / "walls" / f"wall{wall}" / f"{number}.png", wall, number)
    for number in range(6):
        save(folder / "pool" / f"{number}.png", 100 + number)
    lines = [MANIFEST_HEADER]
    for wall in range(4):
        for number, role in enumerate(("query", "gallery", "gallery")):
            save(folder / "measured" / f"{wall}-{number}.png", 50 + wall, number)
            lines.append(f"{wall}-{number}.png,wall{wall},{role},walls,walls\n")
    (folder / "measured" / "manifest.csv").write_text("".join(lines))
    (folder / "licences.toml").write_text('[licences]\nwalls = "CC0"\npool = "CC0"\n')
    (folder / "tiny-mined.toml").write_text(
        MINED.replace(TINY_TRUNK, SMALL_TRUNK).replace("queries = 8", "queries = 24")
    )
    (folder / "tiny-student.toml").write_text(ASYMMETRIC.replace(TINY_TRUNK, SMALL_TRUNK))
    (folder / "tiny.toml").write_text(EXPERIMENT)


def save(path: Path, seed: int, variant: int = 0) -> None:
    """Save a photo; those of one seed differ by noise."""
    noise = np.random.default_rng(variant).integers(-20, 20, (72, 96, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture(72, 96, seed=seed).astype(int) + noise).clip(0, 255).astype(np.uint8)).save(path)


def start(folder: Path, out: Path, *options: object, experiment: str = "tiny.toml") -> subprocess.Popen[str]:
    """Start `askew experiment` in a process group of its own."""
    arguments = [str(folder / experiment), str(out), "--data", str(folder), "--threads", "1", *map(str, options)]
    return subprocess.Popen(
        [sys.executable, "-m", "askew_client.main", "experiment", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and the trainings that it began, as a loss of power does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
