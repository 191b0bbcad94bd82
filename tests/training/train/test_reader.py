"""A process that reads photos ahead does not collect what it inherited: a native thread pool among it would never end."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from torch.utils.data import Dataset

from askew_training.train.reader import LoadedBatch, Task, end_processes, make_loader


class Circle:
    """Writes who collects it."""

    def __init__(self, collected: Path) -> None:
        self.collected = collected
        self.itself = self

    def __del__(self) -> None:
        with self.collected.open("a") as file:
            file.write(f"{os.getpid()}\n")


class Collecting(Dataset[LoadedBatch]):
    def __getitem__(self, task: Task) -> LoadedBatch:
        gc.collect()
        return LoadedBatch([], task.draws, task.draws, [str(os.getpid())])  # type: ignore[arg-type]


def test_a_reading_process_leaves_its_trainers_garbage_alone(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        Circle(tmp_path / "collected")
        loader = make_loader(Collecting(), [Task([], None), Task([], None)], readers=1)
        others = {each.unreadable[0] for each in loader}
        end_processes(loader)
    finally:
        gc.enable()
    gc.collect()
    assert str(os.getpid()) not in others
    assert (tmp_path / "collected").read_text().split() == [str(os.getpid())]
