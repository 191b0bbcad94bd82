"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_

from askew_training.networks.checkpoint import Checkpoint
from askew_training.networks.depthwise import quicken_depthwise
from askew_training.networks.learning import prepare_statistics
from askew_training.networks.network import Network
from askew_training.networks.statistics import estimate_statistics, evaluated
from askew_training.train.batch import Batch
from askew_training.train.checkpoints import Progress, RunState, read_last, save_best, save_last
from askew_training.train.epochs import Epoch, MinedEpoch, PlannedEpoch
from askew_training.train.feed.choice import make_reader, shapes_read, shapes_to_prepare
from askew_training.train.feed.shapes import warm_up
from askew_training.train.forward import describe_without_gradients, make_describe
from askew_training.train.matching.showing import Showing
from askew_training.train.matching.views import mixed
from askew_training.train.optimiser import build_optimiser, load_optimiser, rate_factor, set_rate
from askew_training.train.reader import LoadedBatch
from askew_training.train.run import Run
from askew_training.train.run_log import RunLog
from askew_training.train.score_log import log_scores
from askew_training.train.tuples import TupleMiner, Tuples, mining_statistics, tuple_batches
from askew_training.train.upkeep.failures import count_unreadable, not_finite
from askew_training.train.upkeep.heartbeat import Doing, tell_nobody
from askew_training.train.upkeep.length import Clock, Length
from askew_training.train.upkeep.profile import Profile, Untimed
from askew_training.train.upkeep.stopping import catch_stop
from askew_training.train.upkeep.weight_average import WeightAverage
from askew_training.train.validation import instance_numbers

STATISTICS_BATCHES = 20
"""Batches of an epoch that the statistics of normalisation are estimated on."""

T = TypeVar("T")


class Interrupted(Exception):
    """The run was stopped by Ctrl-C or SIGTERM, and saved."""


class Trainer:
    """One run: trains a network by a recipe and leaves `last.pt`, `best.pt`, `log.jsonl` and `tensorboard/`."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        resume: bool,
        *,
        readers: int | None = None,
        doing: Doing = tell_nobody,
        is_profiled: bool = False,
        clock: Clock = time.perf_counter,
    ) -> None:
        """`folder` must exist. With `resume`, continues from its `last.pt`; raises CheckpointError if it cannot.

        `readers`: processes that read photos; None chooses by the cores and the device. `doing`: is told what goes on.
        `is_profiled`: some steps are timed. `clock`: seconds, by which a run of minutes ends.
        """
        self._doing, self._is_profiled = doing, is_profiled
        self._timed = Untimed()
        self._run, self._folder = run, folder
        self._recipe = run.recipe.model_dump_json()
        self._accelerator = Accelerator(mixed_precision="bf16" if run.precision == "bf16" else "no")
        self._losses = run.losses
        self._instances = instance_numbers(run.training.photos)
        self._labelled = torch.tensor([bool(photo.instance_id) for photo in run.training.photos])
        self._progress = Progress()
        self._tuples: Tuples | None = None
        self._notes: list[str] = []
        device = self._accelerator.device
        run.network.to(device)
        optimiser = build_optimiser(run.recipe.optimiser, run.network, fused=device.type == "cuda")
        average = None
        if resume:
            state = read_last(folder, self._recipe)
            self._progress, self._tuples, average = state.progress, state.tuples, state.average
            run.network.load_state_dict(state.tensors)
            load_optimiser(optimiser, state.optimiser)
            self._note_precision(state)
        are_trained = run.recipe.network.statistics == "trained"
        prepare_statistics(run.network, are_trained)
        for branch in run.network.branches:
            quicken_depthwise(branch)
        network = run.network.to(memory_format=torch.channels_last)
        self._network, self._optimiser = self._accelerator.prepare(network, optimiser)
        self._average = None
        if run.recipe.run.ema is not None:
            self._average = WeightAverage(run.network, run.recipe.run.ema)
            if average is not None:
                self._average.load(average)
        self._length = Length(run.recipe.run, self._accelerator, clock)
        self._describe = make_describe(self._network, self._accelerator, run.photos_in_batch, are_trained)
        self._describe_whole_groups = make_describe(self._network, self._accelerator, whole_groups=True)
        self._showing = Showing(
            run.views, run.view_teacher, run.stored_views, device, self._accelerator.autocast, run.photos_in_batch
        )
        self._reader = make_reader(run, device, readers, doing, lambda name: self._timed.part(name))
        self._batches_each_epoch = run.batches_each_epoch // self._accelerator.num_processes

    def train(self) -> Progress:
        """Run to the end. Raises TrainingError if it cannot continue, Interrupted if it was stopped."""
        try:
            return self._train_all()
        finally:
            self._reader.close()

    def _train_all(self) -> Progress:
        done = self._progress.epoch * self._batches_each_epoch + self._progress.batch
        total = self._length.total(self._batches_each_epoch)
        with RunLog(self._folder, total, done, self._doing) as log, catch_stop() as was_stopped:
            if self._is_profiled:
                self._timed = Profile(self._folder, self._accelerator.device, log.say)
            for note in self._notes:
                log.say(note)
            self._reader.start()
            if self._run.on_gpu:
                shapes = shapes_to_prepare(self._run)
                log.say(f"Preparing the network for {len(shapes)} shapes of photos.")
                self._doing("preparing the network for its shapes")
                warm_up(self._network, self._accelerator, shapes, self._run.photos_in_batch)
                self._showing.warm_up(shapes_read(self._run))
            if self._progress.steps == 0:
                self._validate(log)
            while not self._length.is_over(self._progress):
                epoch = self._epoch(log)
                self._estimate_statistics(epoch, log)
                if self._train_epoch(epoch, log, was_stopped):
                    self._progress.epoch, self._progress.batch = self._progress.epoch + 1, 0
                    self._tuples = None
                self._validate(log)
                self._save()
            self._timed.finish()
        return self._progress

    def _note_precision(self, state: RunState) -> None:
        """Say if the run continues in another precision. Checkpoints of 0.1 were computed as their recipe asked."""
        before = state.precision or self._run.recipe.run.precision
        if before != self._run.precision:
            self._notes.append(
                f"This run was computed in {before} so far and continues in {self._run.precision}, so its weights will "
                "differ from those of a run in one precision."
            )

    def _epoch(self, log: RunLog) -> Epoch:
        """The batches of the current epoch. Tuples are mined now, unless the epoch was begun before a stop."""
        run, number = self._run, self._progress.epoch
        if not isinstance(run.source, TupleMiner):
            planned = self._own_share(run.source.epoch(number))
            return PlannedEpoch(planned, self._instances, self._labelled, run.targets)
        if self._tuples is None:
            self._doing(f"mining the tuples of epoch {number + 1}")
            self._tuples = run.source.mine(number, self._describe_training_photos)
            statistics = mining_statistics(self._tuples, self._losses)
            if statistics:
                log.write("mining", self._progress.steps, {"epoch": number, **statistics})
                log.say(f"mined: {', '.join(f'{name} {value:.3f}' for name, value in statistics.items())}")
        side, size = run.recipe.side or "teacher", run.recipe.batches.tuples or 0
        batches = tuple_batches(self._tuples, side, run.training.shapes, size, run.recipe.seed, number)
        teacher = run.targets.vectors if run.targets is not None and side == "teacher" else None
        share = self._own_share(batches)
        return MinedEpoch(self._tuples, share, self._instances, self._labelled, run.targets, teacher)

    def _estimate_statistics(self, epoch: Epoch, log: RunLog) -> None:
        """Estimate the statistics of normalisation again, on views of the epoch, unless it was begun before a stop."""
        if self._run.recipe.network.statistics != "re-estimated" or self._progress.batch:
            return
        number, plan = self._progress.epoch, self._run.views
        readings = [plan.reading(batch, number) for batch in epoch.draws[:STATISTICS_BATCHES]]

        def describe_all() -> None:
            reads = self._reader.read([reading.draws for reading in readings], plan.read_epoch(number))
            for place, (reading, read) in enumerate(zip(readings, reads, strict=True)):
                student = self._showing.for_student(mixed(read, reading), number, place)
                if len(student.photos):
                    self._describe_whole_groups(student)

        estimate_statistics(self._accelerator.unwrap_model(self._network), describe_all)
        log.say(f"statistics of normalisation are estimated again on {len(readings)} batches.")

    def _own_share(self, batches: list[T]) -> list[T]:
        """The batches of this process: with several GPUs, each process takes every n-th, all the same number."""
        count = self._accelerator.num_processes
        return batches[self._accelerator.process_index : len(batches) // count * count : count]

    def _describe_training_photos(self, photos: Sequence[int]) -> NDArray[np.float32]:
        """Describe training photos with the network as it is now, not augmented; 0 for those that cannot be read."""

        def describe(loaded: LoadedBatch) -> torch.Tensor:
            return self._describe(self._showing.at_largest(loaded))

        with evaluated(self._network):
            return describe_without_gradients(self._reader, describe, self._run.training.shapes, photos)[0]

    def _train_epoch(self, epoch: Epoch, log: RunLog, was_stopped: Callable[[], bool]) -> bool:
        """Train the batches of an epoch that are left. Returns whether it came to its end, and not the run's time."""
        recipe, progress, draws = self._run.recipe, self._progress, epoch.draws
        count = len(draws)
        steps_each_epoch = math.ceil(count / recipe.batches.accumulate)
        started, photos = time.perf_counter(), 0
        self._length.start_epoch()
        steps = self._length.total(steps_each_epoch)
        plan = self._run.views
        readings = [plan.reading(batch, progress.epoch) for batch in draws[progress.batch :]]
        remaining = self._reader.read([reading.draws for reading in readings], plan.read_epoch(progress.epoch))
        reads = zip(readings, self._timed.reading(remaining), strict=True)
        for number, (reading, read) in enumerate(reads, start=progress.batch):
            count_unreadable(read, progress, log.say)
            with self._timed.part("teacher"):
                loaded, views = self._showing.show(read, reading, progress.epoch, number)
            is_step = (number + 1) % recipe.batches.accumulate == 0 or number + 1 == count
            share = self._length.share(progress)
            factor = rate_factor(recipe.optimiser, progress.steps, progress.epoch, steps, share)
            with self._timed.part("forward"):
                batch = epoch.batch(number, loaded, self._describe(loaded), views) if len(loaded.photos) else None
            values = self._learn(loaded, batch, is_step, factor)
            photos += len(loaded.photos)
            progress.photos += len(loaded.photos)
            rate = photos / (time.perf_counter() - started)
            log.advance(progress.epoch, values.get("loss"), rate)
            if not is_step:
                continue
            progress.steps += 1
            progress.batch = number + 1
            if self._average is not None:
                self._average.update(progress.steps)
            self._timed.after_step()
            self._length.count(progress)
            log.write("train", progress.steps, {"epoch": progress.epoch, **values, "photos_per_second": rate})
            if was_stopped():
                self._save()
                raise Interrupted
            if self._length.is_time_over(progress) and progress.batch < count:
                return False
            if self._length.is_save_due(progress):
                self._save()
        return True

    def _learn(self, loaded: LoadedBatch, batch: Batch | None, is_step: bool, factor: float) -> dict[str, float]:
        """Backpropagate one batch, and let the optimiser step if `is_step`. Returns what to log.

        `batch`: None if there is nothing to learn from. `factor`: of the full learning rate.
        """
        values: dict[str, float] = {}
        if batch is not None:
            loss, terms = self._losses(batch)
            if is_step and self._measures_gradients():
                norms = self._losses.gradient_norms(batch, self._network.parameters())
                terms |= {f"gradient_norm_{name}": norm for name, norm in norms.items()}
            if not bool(torch.isfinite(loss)):
                raise not_finite("loss", loaded, self._run.training.photos, self._progress)
            with self._timed.part("backward"):
                self._accelerator.backward(loss / self._run.recipe.batches.accumulate)
            values = {"loss": loss.item(), **terms} if terms else {}
        if not is_step:
            return values
        with self._timed.part("step"):
            norm = clip_grad_norm_(self._network.parameters(), self._run.recipe.optimiser.clip or math.inf)
            if not bool(torch.isfinite(norm)):
                raise not_finite("gradient", loaded, self._run.training.photos, self._progress)
            set_rate(self._optimiser, factor)
            self._optimiser.step()
            self._optimiser.zero_grad()
        return {**values, "gradient_norm": norm.item(), "rate": factor}

    def _measures_gradients(self) -> bool:
        each = self._run.recipe.run.gradient_norms_each_steps
        return len(self._losses.terms) > 1 and self._progress.steps % each == 0

    def _validate(self, log: RunLog) -> None:
        if self._run.validation is None or not self._accelerator.is_main_process:
            return
        self._doing(f"validating after {self._progress.epoch} epochs")
        with evaluated(self._network), self._averaged():
            scores = self._run.validation.measure(self._describe, self._losses)
        log_scores(scores, self._progress, log)
        if self._progress.best is None or scores.mean > self._progress.best:
            self._progress.best = scores.mean
            with self._averaged():
                save_best(self._folder, self._checkpoint(), self._run.precision)

    def _save(self) -> None:
        self._length.saved()
        if not self._accelerator.is_main_process:
            return
        learning = None
        if self._average is not None:
            learning = {name: tensor.clone() for name, tensor in self._checkpoint().network.state_dict().items()}
        with self._averaged():
            save_last(
                self._folder,
                self._checkpoint(),
                self._progress,
                self._optimiser.state_dict(),
                self._recipe,
                self._tuples,
                learning,
                self._run.precision,
            )

    def _averaged(self) -> AbstractContextManager[None]:
        """Within it, the network has the moving average of its weights, if the recipe asks for one."""
        return nullcontext() if self._average is None else self._average.in_network()

    def _checkpoint(self) -> Checkpoint:
        network: Network = self._accelerator.unwrap_model(self._network)
        return Checkpoint(network, self._run.description)
