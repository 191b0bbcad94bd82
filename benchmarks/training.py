"""Photos per second of `askew train`, compared with a bare forward and backward pass on tensors in memory.

    python benchmarks/training.py [--photos DIR] [--trunk tf_efficientnet_lite0] [--photo-size 224] [--rounds 3]

Both train the same network on the same batches in one process, in bf16 if the machine has fast bf16 and otherwise in
float32. The trainer does all of its work (reading, decoding, augmenting, clipping, logging); the bare loop runs on the
trainer's batches, kept in memory. A second bare loop uses torch's own depthwise convolutions, to show how much time
Askew's save.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.utils import clip_grad_norm_

from askew_training.data.photo_sets import photos_in
from askew_training.networks.depthwise import quicken_depthwise
from askew_training.networks.learning import freeze_statistics
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights
from askew_training.train.forward import make_describe
from askew_training.train.loop import Trainer
from askew_training.train.precision import Precision
from askew_training.train.reader import LoadedBatch, PhotoReader
from askew_training.train.recipe import read_recipe
from askew_training.train.run import Run, prepare
from askew_training.train.tuples import TupleMiner
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.npy_import import import_npy

DIM = 512
RECIPE = """
name = "benchmark"
[network]
trunk = "{trunk}"
weights = "random"
head = "random"
dim = {dim}
[teacher]
vectors = "vectors"
[data]
photos = ["{photos}"]
licences = "licences.toml"
[batches]
photo_size = {photo_size}
photos = 32
[augmentation]
smallest_crop = 0.8
perspective = 0.1
colour = 0.3
[[losses]]
name = "regression"
[optimiser]
name = "adamw"
learning_rate = 1e-4
clip = 5.0
[run]
epochs = {epochs}
precision = "bf16"
[encoder]
photo_size = {photo_size}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path(__file__).parents[1] / "demo" / "gallery")
    parser.add_argument("--trunk", default="tf_efficientnet_lite0")
    parser.add_argument("--photo-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = prepare_run(folder, chosen.photos.resolve(), chosen.trunk, chosen.photo_size, chosen.rounds)
        assert not isinstance(run.source, TupleMiner)
        reader = PhotoReader(run.training.store, run.training.shapes, run.augmentation)
        batches = list(reader.read(run.source.epoch(0), 0))
        quick, plain = bare_network(chosen.trunk, quick=True), bare_network(chosen.trunk, quick=False)
        bare_rate(quick, batches, run.precision)
        bare_rate(plain, batches, run.precision)
        of_quick = [bare_rate(quick, batches, run.precision) for _ in range(chosen.rounds)]
        of_plain = [bare_rate(plain, batches, run.precision) for _ in range(chosen.rounds)]
        Trainer(run, folder / "out", resume=False).train()
        of_trainer = epoch_rates(folder / "out" / "log.jsonl")[1:]
        of_quick += [bare_rate(quick, batches, run.precision) for _ in range(chosen.rounds)]
    count = sum(len(batch.photos) for batch in batches)
    print(
        f"{chosen.trunk}, {count} photos at {chosen.photo_size} px, batches of 32, {run.precision}, "
        f"{torch.get_num_threads()} threads"
    )
    rates = {"askew train": of_trainer, "bare loop": of_quick, "bare loop, torch's depthwise": of_plain}
    for name, each in rates.items():
        print(f"{name:32} {statistics.median(each):7.1f} photos/s   ({', '.join(f'{rate:.1f}' for rate in each)})")
    print(f"askew train / bare loop:           {statistics.median(of_trainer) / statistics.median(of_quick):.2f}")
    print(f"askew train / torch's depthwise:   {statistics.median(of_trainer) / statistics.median(of_plain):.2f}")


def prepare_run(folder: Path, photos: Path, trunk: str, photo_size: int, rounds: int) -> Run:
    names = [photo.id for photo in photos_in(photos)]
    vectors = np.random.default_rng(0).normal(size=(DIM, len(names))).astype(np.float32)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=0))
    (folder / "ids.txt").write_text("\n".join(names) + "\n")
    import_npy(folder / "vectors.npy", folder / "ids.txt", "sp1-" + "0" * 32, folder / "vectors", Dtype.f16, photo_size)
    sets = "\n".join(f'"{name}" = "not needed"' for name in sorted({photo.set_name for photo in photos_in(photos)}))
    (folder / "licences.toml").write_text(f"[licences]\n{sets}\n")
    recipe = RECIPE.format(trunk=trunk, dim=DIM, photos=photos, photo_size=photo_size, epochs=rounds + 1)
    (folder / "recipe.toml").write_text(recipe)
    (folder / "out").mkdir()
    return prepare(read_recipe(folder / "recipe.toml"), folder / "cache", print)


def bare_network(trunk: str, *, quick: bool) -> Network:
    branch = Branch(trunk_with_weights(trunk, "random"))
    network = Network([branch], torch.nn.Linear(branch.channels, DIM))
    freeze_statistics(network)
    if quick:
        quicken_depthwise(network)
    return network.to(memory_format=torch.channels_last)


def bare_rate(network: Network, batches: list[LoadedBatch], precision: Precision) -> float:
    """Photos per second of forward pass, backward pass and step on batches in memory."""
    describe = make_describe(network, Accelerator(mixed_precision="bf16" if precision == "bf16" else "no"))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)
    target = torch.nn.functional.normalize(torch.randn(max(len(batch.photos) for batch in batches), DIM), dim=1)
    before = time.perf_counter()
    for batch in batches:
        loss = (1 - (describe(batch) * target[: len(batch.photos)]).sum(1)).mean()
        loss.backward()
        clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad()
    return sum(len(batch.photos) for batch in batches) / (time.perf_counter() - before)


def epoch_rates(log: Path) -> list[float]:
    """Photos per second of each epoch; the last line of an epoch has the mean."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    rates = {line["epoch"]: line["photos_per_second"] for line in lines if line["kind"] == "train"}
    return list(rates.values())


if __name__ == "__main__":
    main()
