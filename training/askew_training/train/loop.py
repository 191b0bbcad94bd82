"""The training loop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_

from askew_training.data.batches import Batches
from askew_training.errors import TrainingError
from askew_training.networks.checkpoint import Checkpoint
from askew_training.networks.depthwise import quicken_depthwise
from askew_training.networks.learning import freeze_statistics
from askew_training.networks.network import Network
from askew_training.train.batch import Batch
from askew_training.train.checkpoints import Progress, read_last, save_best, save_last
from askew_training.train.forward import described_photos, describing
from askew_training.train.optimiser import optimiser_of, rate_factor, set_rate
from askew_training.train.reader import LoadedBatch, PhotoReader
from askew_training.train.run import Run
from askew_training.train.run_log import RunLog
from askew_training.train.targets import batch_of
from askew_training.train.tuples import TupleBatch, Tuples, batches_of, mining_statistics, references_of
from askew_training.train.validation import instance_numbers

MAX_UNREADABLE_SHARE = 0.01
MAX_UNREADABLE_FEW = 10
"""A run stops when more photos than this share, and than these few, could not be read."""


T = TypeVar("T")


class Interrupted(Exception):
    """The run was stopped by Ctrl-C or SIGTERM, and saved."""


@dataclass(frozen=True)
class _Epoch:
    """The batches of an epoch, and the tuples that they are made of, where they are."""

    draws: Batches
    tuples: Tuples | None = None
    tuple_batches: Sequence[TupleBatch] = ()


class Trainer:
    """One run: trains a network by a recipe and leaves `last.pt`, `best.pt`, `log.jsonl` and `tensorboard/`."""

    def __init__(self, run: Run, folder: Path, resume: bool) -> None:
        """`folder` exists. With `resume`, goes on from its `last.pt`; raises CheckpointError when that cannot be."""
        self._run, self._folder = run, folder
        self._recipe = run.recipe.model_dump_json()
        self._accelerator = Accelerator(mixed_precision="bf16" if run.recipe.run.precision == "bf16" else "no")
        self._losses = run.losses
        self._instances = instance_numbers(run.training.photos)
        self._progress = Progress()
        self._tuples: Tuples | None = None
        optimiser = optimiser_of(run.recipe.optimiser, run.network)
        if resume:
            state = read_last(folder, self._recipe)
            self._progress, self._tuples = state.progress, state.tuples
            run.network.load_state_dict(state.tensors)
            optimiser.load_state_dict(state.optimiser)
        freeze_statistics(run.network)
        for branch in run.network.branches:
            quicken_depthwise(branch)
        network = run.network.to(memory_format=torch.channels_last)
        self._network, self._optimiser = self._accelerator.prepare(network, optimiser)
        self._describe = describing(self._network, self._accelerator)
        training = run.training
        self._reader = PhotoReader(training.store, training.shapes, run.augmentation, seed=run.recipe.seed, ahead=True)
        batches = run.batches_each_epoch
        self._batches_each_epoch = batches // self._accelerator.num_processes

    def train(self) -> Progress:
        """Run to the end. Raises TrainingError when it cannot go on, Interrupted when it was stopped."""
        done = self._progress.epoch * self._batches_each_epoch + self._progress.batch
        epochs = self._run.recipe.run.epochs
        with RunLog(self._folder, epochs, self._batches_each_epoch, done) as log, _stop_asked() as stop_asked:
            self._reader.start()
            if self._progress.steps == 0:
                self._validate(log)
            while self._progress.epoch < epochs:
                self._train_epoch(self._epoch(log), log, stop_asked)
                self._progress.epoch, self._progress.batch = self._progress.epoch + 1, 0
                self._tuples = None
                self._validate(log)
                self._save()
        return self._progress

    def _epoch(self, log: RunLog) -> _Epoch:
        """The batches of the epoch that is due; with tuples, those that are chosen now, or were at its beginning."""
        run, number = self._run, self._progress.epoch
        if run.miner is None:
            assert run.plan is not None
            return _Epoch(self._share(run.plan.epoch(number)))
        if self._tuples is None:
            self._tuples = run.miner.mine(number, self._described)
            statistics = mining_statistics(self._tuples, run.recipe.losses)
            if statistics:
                log.write("mining", self._progress.steps, {"epoch": number, **statistics})
                log.say(f"mined: {', '.join(f'{name} {value:.3f}' for name, value in statistics.items())}")
        side, size = run.recipe.side or "teacher", run.recipe.batches.tuples or 0
        batches = self._share(batches_of(self._tuples, side, run.training.shapes, size, run.recipe.seed, number))
        return _Epoch([batch.draws for batch in batches], self._tuples, batches)

    def _share(self, batches: list[T]) -> list[T]:
        """One process's batches: several GPUs take turns, each the same number."""
        count = self._accelerator.num_processes
        return batches[self._accelerator.process_index : len(batches) // count * count : count]

    def _described(self, photos: Sequence[int]) -> NDArray[np.float32]:
        """Training photos by the network as it is now, as they are; 0 for those that cannot be read."""
        return described_photos(self._reader, self._describe, self._run.training.shapes, photos)[0]

    def _train_epoch(self, epoch: _Epoch, log: RunLog, stop_asked: Callable[[], bool]) -> None:
        recipe, progress, count = self._run.recipe, self._progress, len(epoch.draws)
        steps_each_epoch = math.ceil(count / recipe.batches.accumulate)
        before, photos = time.perf_counter(), 0
        left = self._reader.read(epoch.draws[progress.batch :], progress.epoch)
        for number, loaded in enumerate(left, start=progress.batch):
            self._count_unreadable(loaded, log)
            is_step = (number + 1) % recipe.batches.accumulate == 0 or number + 1 == count
            factor = rate_factor(recipe.optimiser, progress.steps, progress.epoch, steps_each_epoch * recipe.run.epochs)
            values = self._batch(loaded, self._seen(loaded, epoch, number), is_step, factor)
            photos += len(loaded.photos)
            progress.photos += len(loaded.photos)
            rate = photos / (time.perf_counter() - before)
            log.batch_done(progress.epoch, values.get("loss"), rate)
            if not is_step:
                continue
            progress.steps += 1
            progress.batch = number + 1
            log.write("train", progress.steps, {"epoch": progress.epoch, **values, "photos_per_second": rate})
            if stop_asked():
                self._save()
                raise Interrupted
            if progress.steps % recipe.run.save_each_steps == 0:
                self._save()

    def _batch(self, loaded: LoadedBatch, batch: Batch | None, is_step: bool, rate: float) -> dict[str, float]:
        """Forward and backward for one batch, and the optimiser's step where one is due."""
        values: dict[str, float] = {}
        if batch is not None:
            loss, terms = self._losses(batch)
            if not bool(torch.isfinite(loss)):
                raise TrainingError(self._not_finite("loss", loaded))
            self._accelerator.backward(loss / self._run.recipe.batches.accumulate)
            values = {"loss": loss.item(), **terms} if terms else {}
        if not is_step:
            return values
        norm = clip_grad_norm_(self._network.parameters(), self._run.recipe.optimiser.clip or math.inf)
        if not bool(torch.isfinite(norm)):
            raise TrainingError(self._not_finite("gradient", loaded))
        set_rate(self._optimiser, rate)
        self._optimiser.step()
        self._optimiser.zero_grad()
        return {**values, "gradient_norm": norm.item(), "rate": rate}

    def _seen(self, loaded: LoadedBatch, epoch: _Epoch, number: int) -> Batch | None:
        """What the losses read of a batch; None where nothing of it could be read."""
        photos, targets = loaded.photos, self._run.targets
        if not len(photos):
            return None
        vectors = self._describe(loaded)
        if epoch.tuples is None:
            return batch_of(vectors, photos, self._instances[photos], targets)
        teacher = targets.vectors if targets is not None and self._run.recipe.side == "teacher" else None
        is_query, references = references_of(epoch.tuples, epoch.tuple_batches[number], loaded, vectors, teacher)
        queries = photos[is_query.cpu()]
        if not len(queries):
            return None
        return batch_of(vectors[is_query], queries, self._instances[queries], targets, references)

    def _validate(self, log: RunLog) -> None:
        if self._run.validation is None or not self._accelerator.is_main_process:
            return
        scores = self._run.validation.measure(self._describe, self._losses)
        log.write(
            "validation",
            self._progress.steps,
            {"loss": scores.loss, "mAP": scores.mean, "symmetric_mAP": scores.symmetric, **scores.by_set},
        )
        by_set = ", ".join(f"{name} {score:.3f}" for name, score in scores.by_set.items())
        log.say(f"after {self._progress.epoch} epochs: loss {scores.loss:.4f}, mAP {scores.mean:.3f} ({by_set})")
        if self._progress.best is None or scores.mean > self._progress.best:
            self._progress.best = scores.mean
            save_best(self._folder, self._checkpoint())

    def _save(self) -> None:
        if self._accelerator.is_main_process:
            state = self._optimiser.state_dict()
            save_last(self._folder, self._checkpoint(), self._progress, state, self._recipe, self._tuples)

    def _checkpoint(self) -> Checkpoint:
        network: Network = self._accelerator.unwrap_model(self._network)
        return Checkpoint(network, self._run.description)

    def _count_unreadable(self, loaded: LoadedBatch, log: RunLog) -> None:
        for sentence in loaded.unreadable:
            log.say(f"skipped: {sentence}")
        self._progress.unreadable += len(loaded.unreadable)
        few = max(MAX_UNREADABLE_FEW, MAX_UNREADABLE_SHARE * self._progress.photos)
        if self._progress.unreadable > few:
            raise TrainingError(
                f"{self._progress.unreadable} photos could not be read, the last: {loaded.unreadable[-1]} Find them "
                "all with `askew check-photos --thorough`, and go on with --resume."
            )

    def _not_finite(self, what: str, loaded: LoadedBatch) -> str:
        names = [self._run.training.photos[index].id for index in loaded.photos.tolist()]
        listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        return (
            f"The {what} is no longer finite in step {self._progress.steps + 1} of epoch {self._progress.epoch + 1}, "
            f"with {listed}. The last checkpoint before it is kept. Lower the learning rate, or set `clip`."
        )


@contextmanager
def _stop_asked() -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C or SIGTERM has come; the second Ctrl-C ends the process at once, as without this."""
    asked = False

    def note(number: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
