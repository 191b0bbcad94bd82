"""The vectors of an index over the devices of one process: shared out among them (shard), or all on each (replica).

FAISS's own IndexShards takes all vectors in one call only, and an index on a GPU copies itself whenever it grows. So a
device holds parts of limited size, and this module merges what they find.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Result = TypeVar("Result")

MOST_ELEMENTS = (1 << 31) - 1
"""Elements of one part: some of FAISS's kernels count in 32 bits."""


class Part(Protocol):
    """An index on one device."""

    def add(self, vectors: Vectors) -> None:
        """Add further rows, float32 [n, D]."""

    def search(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        """The nearest rows; `count`: not more than there are."""


class Place(Protocol):
    """A device that holds parts."""

    def open_part(self, dim: int, /) -> Part:
        """An empty index of vectors of `dim` components."""


OpenDevice = Callable[[int], Place]
"""open_device(number): a device of this process."""


class Device:
    """The parts on one device, and the numbers of the rows that they hold. One thread at a time uses it."""

    def __init__(self, dim: int, place: Place, most_rows: int) -> None:
        self._dim = dim
        self._place = place
        self._most_rows = most_rows
        self._parts: list[Part] = [place.open_part(dim)]
        self._rows: list[Rows] = [np.empty(0, dtype=np.int64)]

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors under row numbers."""
        while len(rows):
            room = self._most_rows - len(self._rows[-1])
            if room == 0:
                self._parts.append(self._place.open_part(self._dim))
                self._rows.append(rows[:0])
                continue
            self._parts[-1].add(np.ascontiguousarray(vectors[:room]))
            self._rows[-1] = np.concatenate([self._rows[-1], rows[:room]])
            rows, vectors = rows[room:], vectors[room:]

    def search(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        """The nearest rows, up to `count` columns."""
        found = []
        for part, rows in zip(self._parts, self._rows, strict=True):
            if len(rows):
                scores, positions = part.search(queries, min(count, len(rows)))
                found.append((scores, np.where(positions >= 0, rows[positions], -1)))
        return merged(found, len(queries), count)


class Devices:
    """The rows of an index on one or several devices."""

    def __init__(
        self, dim: int, open_device: OpenDevice, devices: int, *, is_replicated: bool, most_rows: int | None = None
    ) -> None:
        """`is_replicated`: every device holds all rows. `most_rows`: of one part."""
        most_rows = MOST_ELEMENTS // dim if most_rows is None else most_rows
        self._is_replicated = is_replicated
        self._devices = [Device(dim, open_device(number), most_rows) for number in range(devices)]
        self._pool = ThreadPoolExecutor(devices, "askew-device") if devices > 1 else None
        self.dim = dim
        self._added = 0
        self._turn = 0
        self.count = 0

    def add(self, vectors: Vectors) -> None:
        """Add further rows, float32 [n, D]."""
        rows = np.arange(self.count, self.count + len(vectors))
        if self._is_replicated:
            self._each(self._devices, lambda device: device.add(rows, vectors))
        else:
            self._devices[self._added % len(self._devices)].add(rows, vectors)
        self._added += 1
        self.count += len(vectors)

    def search(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        """The nearest rows: float32 and int64 [n, count], padded with -inf and -1."""
        if not self._is_replicated:
            return merged(self._each(self._devices, lambda device: device.search(queries, count)), len(queries), count)
        # One query goes to the next device in turn; more are shared out.
        used = min(len(self._devices), len(queries))
        chosen = [self._devices[(self._turn + number) % len(self._devices)] for number in range(used)]
        self._turn += used
        parts = dict(zip(chosen, np.array_split(queries, used), strict=True))
        found = self._each(chosen, lambda device: device.search(parts[device], count))
        return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])

    def _each(self, devices: list[Device], call: Callable[[Device], Result]) -> list[Result]:
        return [call(device) for device in devices] if self._pool is None else [*self._pool.map(call, devices)]


def merged(found: list[tuple[Scores, Rows]], queries: int, count: int) -> tuple[Scores, Rows]:
    """The best of several answers to the same queries, padded to `count` columns."""
    scores = np.full((queries, count), -np.inf, dtype=np.float32)
    rows = np.full((queries, count), -1, dtype=np.int64)
    if not found:
        return scores, rows
    if len(found) == 1:
        best_scores, best_rows = found[0]
    else:
        all_scores = np.concatenate([each for each, _ in found], axis=1)
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :count]
        best_scores = np.take_along_axis(all_scores, order, axis=1)
        best_rows = np.take_along_axis(np.concatenate([each for _, each in found], axis=1), order, axis=1)
    width = min(count, best_scores.shape[1])
    scores[:, :width], rows[:, :width] = best_scores[:, :width], best_rows[:, :width]
    return scores, rows
