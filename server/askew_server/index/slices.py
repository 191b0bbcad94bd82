"""A two-stage segment cut by rows, so that several cores search for one query.

FAISS searches several queries on several threads, but a single query on one. From a quarter of a million rows on, a
search takes long enough to split: at a million rows, 2,048 components and two cores it takes 7.6 ms instead of 12.9,
with the same answers. The number of slices is part of the calibration: the search effort was measured with it, so every
machine that opens the segment uses the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from askew_client.cores import usable_cores
from askew_server.index.faiss_library import (
    FASTSCAN_BLOCK,
    Refined,
    ScalarCodes,
    Scan,
    refined,
    scalar_codes_of_rows,
    scan_of_rows,
)
from askew_server.index.threads import limit_threads
from askew_server.index.types import Rows, Scores, Vectors

ROWS_PER_SLICE = 125_000
_MAX_SLICES = 8


def slices_for(rows: int, rows_per_slice: int = ROWS_PER_SLICE) -> int:
    """How many slices a segment of `rows` rows is cut into: a power of two, like most numbers of cores."""
    return min(_MAX_SLICES, 1 << max(0, (rows // rows_per_slice).bit_length() - 1))


class Slice(NamedTuple):
    """The rows from `start` on: their scan, their scalar codes, and both together."""

    start: int
    scan: Scan
    codes: ScalarCodes
    both: Refined

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.codes.ntotal)


class Slices:
    """The slices of a segment, each searched on its own thread."""

    def __init__(self, scan: Scan, codes: ScalarCodes, count: int) -> None:
        """`count`: must be 1 for a segment that grows or has inverted lists. If more, the rows move out of `scan`."""
        if count == 1:
            self._slices = [Slice(0, scan, codes, refined(scan, codes))]
            self._pool = None
            return
        self._slices = _cut(scan, codes, count)
        threads = min(count, usable_cores())
        self._pool = ThreadPoolExecutor(threads, "askew-slice", lambda: limit_threads(1))
        # The slices are views of these scalar codes.
        self._owner = codes

    def __len__(self) -> int:
        return len(self._slices)

    def append(self, vectors: Vectors) -> None:
        """Code vectors, float32 [n, D] in the codes' order, as further rows of the only slice."""
        (only,) = self._slices
        only.both.add(vectors)

    def nearest(self, search: Callable[[Slice], tuple[Scores, Rows]], count: int) -> tuple[Scores, Rows]:
        """Run `search` on each slice and return the best `count`. `search` counts rows from the slice's start."""
        if self._pool is None:
            return search(self._slices[0])
        found = list(self._pool.map(search, self._slices))
        scores = np.concatenate([part for part, _ in found], axis=1)
        rows = np.concatenate(
            [np.where(part >= 0, part + each.start, -1) for each, (_, part) in zip(self._slices, found, strict=True)],
            axis=1,
        )
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _cut(scan: Scan, codes: ScalarCodes, count: int) -> list[Slice]:
    rows = int(scan.ntotal)
    starts = [round(rows * number / count / FASTSCAN_BLOCK) * FASTSCAN_BLOCK for number in range(count)]
    slices = []
    for start, end in zip(starts, [*starts[1:], rows], strict=True):
        scan_part, codes_part = scan_of_rows(scan, start, end), scalar_codes_of_rows(codes, start, end)
        slices.append(Slice(start, scan_part, codes_part, refined(scan_part, codes_part)))
    scan.reset()
    return slices
