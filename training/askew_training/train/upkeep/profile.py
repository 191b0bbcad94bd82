"""Where the time of a run goes: a table, and a trace to open in chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from askew_client.files import write_atomically

Item = TypeVar("Item")
LEFT_OUT = 3
"""The first steps, in which kernels are prepared."""
STEPS = 20
TABLE, TRACE = "profile.txt", "trace.json"
MEANINGS = {
    "reading": "waiting for the processes that read photos (and, on a CPU, change them)",
    "augmentation": "views that the device computes",
    "teacher": "mixing views, and the teacher where it describes them",
    "forward": "the network",
    "backward": "losses and gradients",
    "step": "clipping and the optimiser",
}
REST = "logs, checkpoints and whatever else"


class Untimed:
    """Times nothing: what a run has without a profile."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of a step; a part inside of another is not counted for that one."""
        yield

    def after_step(self) -> None:
        """Note the end of a step."""

    def finish(self) -> None:
        """Write what was timed, unless it was already written or nothing was."""

    def reading(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time that each lets wait counts as reading."""
        iterator = iter(items)
        while True:
            with self.part("reading"):
                item = next(iterator, None)
            if item is None:
                return
            yield item


class Profile(Untimed):
    """Times the parts of some steps, and writes `profile.txt` and `trace.json` into the folder of the run.

    Each part ends when the device has computed it, so that a profiled run is slower than one that is not.
    """

    def __init__(self, folder: Path, device: torch.device, say: Callable[[str], None]) -> None:
        self._folder, self._device, self._say = folder, device, say
        self._seconds = dict.fromkeys(MEANINGS, 0.0)
        self._open: list[float] = []
        self._steps = 0
        self._started = 0.0
        self._trace: profile | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """See `Untimed`."""
        if self._trace is None:
            yield
            return
        self._wait()
        began, inside = time.perf_counter(), len(self._open)
        self._open.append(0.0)
        try:
            with record_function(name):
                yield
                self._wait()
        finally:
            seconds = time.perf_counter() - began
            within = self._open.pop()
            self._seconds[name] += seconds - within
            if inside:
                self._open[-1] += seconds

    def after_step(self) -> None:
        """See `Untimed`."""
        self._steps += 1
        if self._steps == LEFT_OUT:
            on_gpu = self._device.type == "cuda"
            self._trace = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])
            self._trace.start()
            self._started = time.perf_counter()
        elif self._steps == LEFT_OUT + STEPS:
            self.finish()

    def finish(self) -> None:
        """See `Untimed`."""
        trace, self._trace = self._trace, None
        if trace is None:
            return
        self._wait()
        whole, steps = time.perf_counter() - self._started, self._steps - LEFT_OUT
        trace.stop()
        if not steps:
            return
        table = _table(self._seconds, whole, steps)
        write_atomically(self._folder / TABLE, table.encode())
        trace.export_chrome_trace(str(self._folder / TRACE))
        self._say(f"{table}The trace is {self._folder / TRACE}.")

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _table(seconds: dict[str, float], whole: float, steps: int) -> str:
    rest = max(0.0, whole - sum(seconds.values()))
    lines = [f"{steps} steps in {whole:.2f} s, {1000 * whole / steps:.1f} ms each:\n"]
    for name, each, meaning in (*((name, seconds[name], MEANINGS[name]) for name in MEANINGS), ("rest", rest, REST)):
        lines.append(f"{name:14}{1000 * each / steps:9.1f} ms{100 * each / whole:6.1f} %   {meaning}\n")
    return "".join(lines)
