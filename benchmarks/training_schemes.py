"""Anchors per second of `askew train`, compared with the schemes of the published code, data loading included.

    python benchmarks/training_schemes.py [--photos DIR] [--trunk tf_efficientnet_lite0] [--photo-size 224] [--count 192]

The published code (Budnik & Avrithis, CVPR 2021, after Radenović et al.) sends one photo at a time through the network
in float32, keeps its aspect ratio, and steps after five tuples. Asymmetric: the anchor's photo, and the teacher's vectors
of one positive and five negatives. Symmetric: all seven photos of a tuple. A second process reads the photos ahead, as
in that code. `askew train` does the same by recipes. Its symmetric training is measured twice: with tuples of seven
photos, and with the photos of a batch as each other's references, so that each photo is an anchor. All schemes run in
one process, on the same photos, with the same loss and the same number of warm-up steps, and without mining. bf16 is
measured only if the machine has fast bf16.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")

import numpy as np
import torch
from accelerate.state import AcceleratorState, PartialState
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from askew_training.data.photo_sets import photos_in
from askew_training.losses.contrastive import Contrastive
from askew_training.networks.learning import freeze_statistics
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights
from askew_training.train.loop import Trainer
from askew_training.train.precision import NO_FAST_BF16, Precision, choose_precision, processor_has_fast_bf16
from askew_training.train.recipe import read_recipe
from askew_training.train.run import prepare
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.npy_import import import_npy

DIM = 1280
NEGATIVES = 5
TUPLES = 5
RECIPE = """
name = "benchmark"
[network]
trunk = "{trunk}"
weights = "random"
{head}
{teacher}
[data]
manifest = "{folder}/manifest.csv"
licences = "licences.toml"
[batches]
photo_size = {photo_size}
{batches}
[[losses]]
name = "contrastive"
references = "{references}"
[optimiser]
name = "adam"
learning_rate = 1e-6
[run]
epochs = 2
precision = "{precision}"
{steps}
[encoder]
photo_size = {photo_size}
"""
TUPLE_BATCHES = """tuples = {tuples}
[mining]
choose = "random"
queries = {count}
negatives = 5
pool = 20000"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path(__file__).parents[1] / "demo" / "gallery")
    parser.add_argument("--trunk", default="tf_efficientnet_lite0")
    parser.add_argument("--photo-size", type=int, default=224)
    parser.add_argument("--count", type=int, default=192, help="anchors of each scheme; symmetric: one sixth")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [photo.path for photo in photos_in(chosen.photos.resolve())]
        prepare_folder(folder, photos, chosen.photo_size)
        count, few = chosen.count, max(2 * TUPLES, chosen.count // 6)
        bare = Schemes(photos, chosen.trunk, chosen.photo_size)
        rates = {"published, asymmetric": bare.rate(count, 1), "published, symmetric": bare.rate(few, 2 + NEGATIVES)}
        for precision in precisions():
            tuples = TUPLE_BATCHES.format(tuples=32, count=count)
            sevens = TUPLE_BATCHES.format(tuples=8, count=few)
            in_batch = "instances = 16\nphotos_each = 2"
            steps = f"steps_each_epoch = {max(2, count // 32)}"
            ours = Ours(folder, chosen.trunk, chosen.photo_size, precision)
            rates[f"askew train, asymmetric, {precision}"] = ours.rate("teacher", tuples, "", 1)
            rates[f"askew train, symmetric tuples, {precision}"] = ours.rate("student", sevens, "", 2 + NEGATIVES)
            rates[f"askew train, symmetric in the batch, {precision}"] = ours.rate("student", in_batch, steps, 1)
    print(
        f"{chosen.trunk}, {len(photos)} photos at {chosen.photo_size} px, {torch.get_num_threads()} threads; anchors/s"
    )
    for scheme, rate in rates.items():
        against = rates[
            "published, symmetric" if "symmetric " in f"{scheme} " and "asym" not in scheme else "published, asymmetric"
        ]
        print(f"{scheme:46} {rate:7.2f}   {rate / against:5.2f} ×")


def precisions() -> list[Precision]:
    """The precisions that are fast on this machine."""
    if choose_precision("bf16", PartialState().device.type, processor_has_fast_bf16()) == "bf16":
        return ["fp32", "bf16"]
    print(NO_FAST_BF16)
    return ["fp32"]


def prepare_folder(folder: Path, photos: list[Path], photo_size: int) -> None:
    """Write a manifest in which every three photos show one thing, and a teacher's vectors."""
    lines = [f"{path},i{number // 3},train,train,photos" for number, path in enumerate(photos)]
    (folder / "manifest.csv").write_text("\n".join(["path,instance_id,role,benchmark,set", *lines]) + "\n")
    (folder / "licences.toml").write_text('[licences]\nphotos = "not needed"\n')
    (folder / "ids.txt").write_text("\n".join(map(str, photos)) + "\n")
    np.save(folder / "vectors.npy", vectors(len(photos)).T)
    import_npy(folder / "vectors.npy", folder / "ids.txt", "sp1-" + "0" * 32, folder / "vectors", Dtype.f16, photo_size)


def vectors(count: int) -> np.ndarray:
    values = np.abs(np.random.default_rng(0).normal(size=(count, DIM))).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


class Photos(Dataset[list[np.ndarray]]):
    """Tuples of photos, as the published code reads them: shrunk by PIL's thumbnail, not cropped."""

    def __init__(self, paths: list[Path], photo_size: int, tuples: np.ndarray) -> None:
        self.paths, self.photo_size, self.tuples = paths, photo_size, tuples

    def __len__(self) -> int:
        return len(self.tuples)

    def __getitem__(self, number: int) -> list[np.ndarray]:
        return [self._photo(self.paths[index]) for index in self.tuples[number]]

    def _photo(self, path: Path) -> np.ndarray:
        with Image.open(path) as image:
            photo = image.convert("RGB")
        photo.thumbnail((self.photo_size, self.photo_size), Image.Resampling.LANCZOS)
        return np.array(photo)


class Schemes:
    """The published schemes, in plain torch."""

    def __init__(self, photos: list[Path], trunk: str, photo_size: int) -> None:
        self.photos, self.photo_size = photos, photo_size
        branch = Branch(trunk_with_weights(trunk, "random"))
        self.network = Network([branch], torch.nn.Linear(branch.channels, DIM))
        freeze_statistics(self.network)
        self.references = torch.from_numpy(vectors(1 + NEGATIVES))

    def rate(self, count: int, photos_each: int) -> float:
        """Tuples per second, after some tuples of warm-up."""
        drawn = np.random.default_rng(1).integers(0, len(self.photos), (count + 2 * TUPLES, photos_each))
        loader = DataLoader(
            Photos(self.photos, self.photo_size, drawn), batch_size=None, num_workers=1, prefetch_factor=10
        )
        loss = Contrastive(0.7, reduction="sum")
        optimiser = torch.optim.Adam(self.network.parameters(), 1e-6)
        positives = torch.zeros(1, 1 + NEGATIVES, dtype=torch.bool)
        positives[0, 0] = True
        start = 0.0
        for number, photos in enumerate(loader):
            if number == 2 * TUPLES:
                start = time.perf_counter()
            described = [self.network(torch.as_tensor(photo)[None]) for photo in photos]
            references = torch.cat(described[1:]) if len(described) > 1 else self.references
            loss(described[0], references, positives, ~positives).backward()
            if (number + 1) % TUPLES == 0:
                optimiser.step()
                optimiser.zero_grad()
        return count / (time.perf_counter() - start)


class Ours:
    """The same schemes by `askew train`; the second of two epochs is measured."""

    def __init__(self, folder: Path, trunk: str, photo_size: int, precision: Precision) -> None:
        self.folder, self.trunk, self.photo_size, self.precision = folder, trunk, photo_size, precision

    def rate(self, references: str, batches: str, steps: str, photos_each: int) -> float:
        """Anchors per second."""
        with_teacher = references == "teacher"
        recipe = RECIPE.format(
            trunk=self.trunk,
            head=f'head = "random"\ndim = {DIM}',
            teacher='[teacher]\nvectors = "vectors"' if with_teacher else "",
            folder=self.folder,
            photo_size=self.photo_size,
            batches=batches,
            references=references,
            precision=self.precision,
            steps=steps,
        )
        (self.folder / "recipe.toml").write_text(recipe)
        output = Path(tempfile.mkdtemp(dir=self.folder))
        run = prepare(read_recipe(self.folder / "recipe.toml"), self.folder / "cache", lambda _sentence: None)
        Trainer(run, output, resume=False).train()
        AcceleratorState._reset_state(reset_partial_state=True)
        lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        last = [line for line in lines if line["kind"] == "train"][-1]
        return float(last["photos_per_second"]) / photos_each


if __name__ == "__main__":
    main()
