"""Photos per second of `askew train`, compared with a bare forward and backward pass on tensors in memory.

    python benchmarks/training.py [--photos DIR] [--trunk tf_efficientnet_lite0] [--photo-size 224] [--rounds 3]
    python benchmarks/training.py --device cuda [--stream] [--search]

Both train the same network on the same batches in one process, in bf16 if the machine has fast bf16 and otherwise in
float32. The trainer does all of its work (reading, decoding, augmenting, clipping, logging); the bare loop runs on the
trainer's batches, kept in memory. On a CPU, a second bare loop uses torch's own depthwise convolutions, to show how much
time Askew's save.

On a GPU, the photos are drawn here, the network is EfficientNet-B3 and a batch has 64 photos of 362 px, unless stated
otherwise. `--stream` reads photos for every batch instead of keeping all on the GPU; `--search` lets cuDNN search for
algorithms while shapes are prepared. `--way gpu` makes batches as for a GPU on any device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch.nn.utils import clip_grad_norm_

from askew_training.data.photo_sets import photos_in
from askew_training.networks.depthwise import quicken_depthwise
from askew_training.networks.learning import freeze_statistics
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights
from askew_training.train.feed import choice
from askew_training.train.feed.shapes import warm_up
from askew_training.train.forward import make_describe
from askew_training.train.loop import Trainer
from askew_training.train.precision import Precision
from askew_training.train.reader import LoadedBatch
from askew_training.train.recipe import read_recipe
from askew_training.train.run import Run, prepare
from askew_training.train.tuples import TupleMiner
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.npy_import import import_npy

DIM = 512
DRAWN_SHAPES = ((384, 512), (512, 384), (448, 448))
"""Height and width of the photos that are drawn: the aspects of most photos."""
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
photos = {batch}
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--way", choices=("cpu", "gpu"), help="how batches are made; default: as the device wants them")
    parser.add_argument("--photos", type=Path, help="a folder of photos; default: the demo's, or drawn ones for a GPU")
    parser.add_argument("--draw", type=int, help="how many photos to draw; default: 18 batches")
    parser.add_argument("--trunk")
    parser.add_argument("--photo-size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--search", action="store_true")
    chosen = parser.parse_args()
    on_gpu = (chosen.way or {"cpu": "cpu", "cuda": "gpu"}[chosen.device]) == "gpu"
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a GPU for --device cuda, but torch sees none: install torch for CUDA, or leave it out")
    if chosen.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    trunk = chosen.trunk or ("tf_efficientnet_b3" if on_gpu else "tf_efficientnet_lite0")
    photo_size = chosen.photo_size or (362 if on_gpu else 224)
    batch = chosen.batch or (64 if on_gpu else 32)
    if chosen.stream:
        choice.budget_of = lambda device: 0
    torch.backends.cudnn.benchmark = chosen.search
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = chosen.photos or (folder / "drawn" if on_gpu else Path(__file__).parents[1] / "demo" / "gallery")
        if on_gpu and chosen.photos is None:
            draw_photos(photos, chosen.draw or 18 * batch)
        recipe = RECIPE.format(
            trunk=trunk, dim=DIM, photos=photos.resolve(), photo_size=photo_size, batch=batch, epochs=chosen.rounds + 1
        )
        run = prepare_run(folder, photos.resolve(), recipe, photo_size, on_gpu)
        measure(run, folder, trunk, chosen.rounds)


def measure(run: Run, folder: Path, trunk: str, rounds: int) -> None:
    assert not isinstance(run.source, TupleMiner)
    began = time.perf_counter()
    accelerator = Accelerator(mixed_precision="bf16" if run.precision == "bf16" else "no")
    device, size = accelerator.device, run.photos_in_batch
    is_cpu = device.type == "cpu"
    reader = choice.make_reader(run, device, None)
    batches = list(reader.read(run.source.epoch(0), 0))
    say(began, f"read {sum(len(batch.photos) for batch in batches)} photos")
    networks = {"bare loop": bare_network(trunk, True, device)}
    if is_cpu:
        networks["bare loop, torch's depthwise"] = bare_network(trunk, False, device)
    rates: dict[str, list[float]] = {"askew train": []}
    for name, network in networks.items():
        if run.on_gpu:
            warm_up(network, accelerator, choice.shapes_to_prepare(run), size)
        bare_rate(network, batches, run.precision, size)
        say(began, f"{name}: prepared")
        rates[name] = [bare_rate(network, batches, run.precision, size) for _ in range(rounds)]
        say(began, f"{name}: {statistics.median(rates[name]):.1f} photos/s")
    trainer = Trainer(run, folder / "out", resume=False)
    trainer.train()
    say(began, "askew train: done")
    rates["askew train"] = epoch_rates(folder / "out" / "log.jsonl")[1:]
    rates["bare loop"] += [bare_rate(networks["bare loop"], batches, run.precision, size) for _ in range(rounds)]
    feeding = [feed_rate(reader, run, device) for _ in range(2)][-1]
    reader.close()
    name = "CPU" if is_cpu else torch.cuda.get_device_name(device)
    print(
        f"{trunk}, {sum(len(batch.photos) for batch in batches)} photos at {run.recipe.batches.photo_size} px, batches of "
        f"{size}, {run.precision}, torch {torch.__version__}, {name}, {torch.get_num_threads()} threads"
    )
    for name, each in rates.items():
        print(f"{name:32} {statistics.median(each):7.1f} photos/s   ({', '.join(f'{rate:.1f}' for rate in each)})")
    print(f"{'reading and views alone':32} {feeding:7.1f} photos/s")
    if not is_cpu:
        print(f"most memory: {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB")
    for name in networks:
        share = statistics.median(rates["askew train"]) / statistics.median(rates[name])
        print(f"askew train / {name:30} {share:.2f}")


def say(began: float, what: str) -> None:
    print(f"[{time.perf_counter() - began:6.1f} s] {what}", flush=True)


def draw_photos(folder: Path, count: int) -> None:
    """Draw photos as JPEG files: smooth noise of several scales, which is as slow to decode as real photos."""
    folder.mkdir()

    def draw(number: int) -> None:
        random = np.random.default_rng(number)
        height, width = DRAWN_SHAPES[number % len(DRAWN_SHAPES)]
        photo = np.zeros((height, width, 3), dtype=np.float32)
        for side in (4, 16, 64, 256):
            noise = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
            photo += np.asarray(noise.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / 4
        Image.fromarray(photo.astype(np.uint8)).save(folder / f"{number}.jpg", quality=85)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(count)))


def prepare_run(folder: Path, photos: Path, recipe: str, photo_size: int, on_gpu: bool) -> Run:
    names = [photo.id for photo in photos_in(photos)]
    vectors = np.random.default_rng(0).normal(size=(DIM, len(names))).astype(np.float32)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=0))
    (folder / "ids.txt").write_text("\n".join(names) + "\n")
    import_npy(folder / "vectors.npy", folder / "ids.txt", "sp1-" + "0" * 32, folder / "vectors", Dtype.f16, photo_size)
    sets = "\n".join(f'"{name}" = "not needed"' for name in sorted({photo.set_name for photo in photos_in(photos)}))
    (folder / "licences.toml").write_text(f"[licences]\n{sets}\n")
    (folder / "recipe.toml").write_text(recipe)
    (folder / "out").mkdir()
    return prepare(read_recipe(folder / "recipe.toml"), folder / "cache", print, on_gpu=on_gpu)


def bare_network(trunk: str, quick: bool, device: torch.device) -> Network:
    branch = Branch(trunk_with_weights(trunk, "random"))
    network = Network([branch], torch.nn.Linear(branch.channels, DIM))
    freeze_statistics(network)
    if quick:
        quicken_depthwise(network)
    return network.to(device).to(memory_format=torch.channels_last)


def bare_rate(network: Network, batches: list[LoadedBatch], precision: Precision, size: int) -> float:
    """Photos per second of forward pass, backward pass and step on batches in memory."""
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
    describe, on_cuda = make_describe(network, accelerator, size), accelerator.device.type == "cuda"
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4, fused=on_cuda or None)
    target = torch.nn.functional.normalize(torch.randn(size, DIM, device=accelerator.device), dim=1)
    wait(accelerator.device)
    before = time.perf_counter()
    for batch in batches:
        loss = (1 - (describe(batch) * target[: len(batch.photos)]).sum(1)).mean()
        loss.backward()
        clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad()
    wait(accelerator.device)
    return sum(len(batch.photos) for batch in batches) / (time.perf_counter() - before)


def feed_rate(reader: choice.PhotoReader, run: Run, device: torch.device) -> float:
    """Photos per second of reading and augmenting alone."""
    assert not isinstance(run.source, TupleMiner)
    wait(device)
    before = time.perf_counter()
    photos = sum(len(batch.photos) for batch in reader.read(run.source.epoch(1), 1))
    wait(device)
    return photos / (time.perf_counter() - before)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def epoch_rates(log: Path) -> list[float]:
    """Photos per second of each epoch; the last line of an epoch has the mean."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    rates = {line["epoch"]: line["photos_per_second"] for line in lines if line["kind"] == "train"}
    return list(rates.values())


if __name__ == "__main__":
    main()
