"""The log of a run: a progress bar, lines of JSON, and TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from askew_training.train.upkeep.heartbeat import Doing, tell_nobody

LINES = "log.jsonl"


class RunLog:
    """The log of one run in its folder: `log.jsonl`, `tensorboard/`, and a progress bar on standard error.

    Use it as a context manager. A resumed run appends to the existing lines.
    """

    def __init__(self, folder: Path, batches: int | None, done: int, doing: Doing = tell_nobody) -> None:
        """`batches`: of the whole run; None if it is not known. `done`: those that an earlier part of the run has seen.
        `doing`: is told of each batch."""
        self._doing = doing
        self._lines = (folder / LINES).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done)
        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self.console)
        self._task: TaskID = self._bar.add_task("training", total=batches, completed=done, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._board.close()
        self._lines.close()

    def advance(self, epoch: int, loss: float | None, photos_each_second: float) -> None:
        """Advance the bar by one batch. `loss`: None if none of its photos could be read."""
        rate = f"{'' if loss is None else f'loss {loss:.4f}  '}{photos_each_second:.1f} photos/s"
        self._bar.update(self._task, advance=1, description=f"epoch {epoch + 1}", rate=rate)
        task = self._bar.tasks[self._task]
        batches = f"{task.completed:.0f}" if task.total is None else f"{task.completed:.0f} of {task.total:.0f}"
        self._doing(f"training: epoch {epoch + 1}, batch {batches}, {rate}")

    def write(self, kind: str, step: int, values: dict[str, float | int | str]) -> None:
        """Write one line of JSON, and each number in it to TensorBoard as `kind/name`."""
        self._lines.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if not isinstance(value, str):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)
