"""Which reader a run has: what a CPU or a GPU wants, and how many processes read."""

from __future__ import annotations

import itertools

import torch

from askew_client.cores import usable_cores
from askew_training.data.batches import PhotoPlan
from askew_training.train.feed.device_reader import DeviceReader, Part, not_timed
from askew_training.train.feed.resident import budget_of, hold
from askew_training.train.matching.views import shrunk_shape
from askew_training.train.reader import PhotoReader
from askew_training.train.run import Run
from askew_training.train.upkeep.heartbeat import Doing, tell_nobody

MOST_READERS = 16
CORES_FOR_A_READER = 8
"""On a CPU, the network needs most of the cores: one process reads for each eight of them."""


def reader_count(cores: int, on_gpu: bool) -> int:
    """How many processes read photos: beside a GPU all cores but two, beside a network on the CPU a few."""
    return max(1, min(MOST_READERS, cores - 2 if on_gpu else cores // CORES_FOR_A_READER))


def make_reader(
    run: Run, device: torch.device, readers: int | None, doing: Doing = tell_nobody, part: Part = not_timed
) -> PhotoReader:
    """Make the reader of a run's training photos. `readers`: processes that read; None chooses.

    On a GPU, decoded photos stay in its memory if they fit. `doing`: is told how many of them were decoded. `part`: times
    the part of a step that it is given the name of.
    """
    training, seed = run.training, run.recipe.seed
    count = reader_count(usable_cores(), run.on_gpu) if readers is None else readers
    if not run.on_gpu:
        return PhotoReader(training.store, training.shapes, run.augmentation, seed=seed, ahead=True, readers=count)
    done = itertools.count(1)

    def decoded() -> None:
        doing(f"decoding photos: {next(done):,} of {len(training.photos):,}")

    return DeviceReader(
        training.store,
        training.sides,
        training.shapes,
        training.allowed,
        run.augmentation,
        seed=seed,
        readers=count,
        device=device,
        resident=hold(training.store, device, budget_of(device), decoded),
        part=part,
    )


def shapes_to_prepare(run: Run) -> list[tuple[int, int]]:
    """The shapes that a run's network may meet on a GPU: those that batches are read in, shrunk to each size that it sees."""
    views = run.views
    return sorted({shrunk_shape(*shape, size / views.read_size) for shape in shapes_read(run) for size in views.sizes})


def shapes_read(run: Run) -> list[tuple[int, int]]:
    """The shapes that batches may be read in: the photos' own if no batch mixes them, otherwise all seven."""
    shapes = run.training.shapes
    if not isinstance(run.source, PhotoPlan) or run.recipe.run.steps_each_epoch is not None:
        return list(run.training.allowed)
    # The photos of each shape, and so what is left of it for a mixed batch, are as many in every epoch.
    is_mixed = any(len({shapes[draw.photo] for draw in batch}) > 1 for batch in run.source.epoch(0))
    return list(run.training.allowed) if is_mixed else sorted(set(shapes))
