"""How long a run is: by epochs or by minutes, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from askew_training.train.checkpoints import Progress
from askew_training.train.recipe_tables import RunTable

Clock = Callable[[], float]


SAVED_EACH_SECONDS = 300.0
"""How long a run may go on without being saved: what a killed one loses at most, however slow its steps are."""


class Length:
    """When a run ends, and when it is saved. Its minutes are those of its epochs: preparing and validating are not counted."""

    def __init__(self, table: RunTable, accelerator: Accelerator, clock: Clock = time.perf_counter) -> None:
        self._table, self._accelerator, self._clock = table, accelerator, clock
        self._last = clock()
        self._saved_at = self._last

    def start_epoch(self) -> None:
        """Begin to count."""
        self._last = self._clock()

    def count(self, progress: Progress) -> None:
        """Add the time since the last call, or since the start of the epoch, to the run's progress."""
        now = self._clock()
        progress.seconds += now - self._last
        self._last = now
        if self._table.minutes is not None and self._accelerator.num_processes > 1:
            # All processes must end at the same step, or the rest would wait for ever.
            seconds = torch.tensor([progress.seconds], dtype=torch.float64, device=self._accelerator.device)
            progress.seconds = float(broadcast(seconds).item())

    def is_save_due(self, progress: Progress) -> bool:
        """Whether the run should be saved after this step: each `save_each_steps` steps, and each five minutes."""
        is_counted = progress.steps % self._table.save_each_steps == 0
        return is_counted or self._last - self._saved_at >= SAVED_EACH_SECONDS

    def saved(self) -> None:
        """The run was saved."""
        self._saved_at = self._last

    def is_over(self, progress: Progress) -> bool:
        """Whether the run has had all its epochs or its minutes."""
        by_epochs = self._table.epochs is not None and progress.epoch >= self._table.epochs
        return by_epochs or self.is_time_over(progress)

    def is_time_over(self, progress: Progress) -> bool:
        """Whether the run has had its minutes."""
        return self._table.minutes is not None and progress.seconds >= 60 * self._table.minutes

    def share(self, progress: Progress) -> float | None:
        """The share of its minutes that has passed, 0 to 1; None if the run ends by epochs."""
        return None if self._table.minutes is None else min(1.0, progress.seconds / (60 * self._table.minutes))

    def total(self, each_epoch: int) -> int | None:
        """The steps, or batches, of the whole run, from those of an epoch; None if it ends by minutes."""
        return None if self._table.epochs is None else self._table.epochs * each_epoch
