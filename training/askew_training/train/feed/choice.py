"""Which reader a run has: what a CPU or a GPU wants, and how many processes read."""

from __future__ import annotations

import torch

from askew_client.cores import usable_cores
from askew_training.data.batches import few_shapes
from askew_training.train.feed.device_reader import DeviceReader
from askew_training.train.feed.resident import budget_of, hold
from askew_training.train.reader import PhotoReader
from askew_training.train.run import Run

MOST_READERS = 16
CORES_FOR_A_READER = 8
"""On a CPU, the network needs most of the cores: one process reads for each eight of them."""


def reader_count(cores: int, on_gpu: bool) -> int:
    """How many processes read photos: beside a GPU all cores but two, beside a network on the CPU a few."""
    return max(1, min(MOST_READERS, cores - 2 if on_gpu else cores // CORES_FOR_A_READER))


def make_reader(run: Run, device: torch.device, readers: int | None) -> PhotoReader:
    """Make the reader of a run's training photos. `readers`: processes that read; None chooses.

    On a GPU, decoded photos stay in its memory if they fit.
    """
    training, seed = run.training, run.recipe.seed
    count = reader_count(usable_cores(), run.on_gpu) if readers is None else readers
    if not run.on_gpu:
        return PhotoReader(training.store, training.shapes, run.augmentation, seed=seed, ahead=True, readers=count)
    return DeviceReader(
        training.store,
        training.sides,
        training.shapes,
        few_shapes(run.recipe.batches.photo_size),
        run.augmentation,
        seed=seed,
        readers=count,
        device=device,
        resident=hold(training.store, device, budget_of(device)),
    )
