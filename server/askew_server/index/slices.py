"""A two-stage segment cut by rows, so that a single query is searched by several cores.

FAISS searches several queries on several threads, but one query on one. From a quarter of a million rows on a search
takes long enough to share: at a million, 2,048 components and two cores 7.6 ms instead of 12.9, with the same answers.
The cut is kept in the calibration: the effort that was found belongs to it, whatever machine opens the segment.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from askew_server.index.threads import cores, limit_threads
from askew_server.index.types import Rows, Scores

_ROWS = 125_000
_MOST = 8
_FASTSCAN_BLOCK = 32
"""FastScan packs the codes of so many rows into one block."""


def slices_for(rows: int) -> int:
    """Into how many slices a segment of so many rows is cut: a power of two, as numbers of cores mostly are."""
    return min(_MOST, 1 << max(0, (rows // _ROWS).bit_length() - 1))


class Slice(NamedTuple):
    """The rows from `start` on: FAISS's scan and scalar codes of these, and both together (IndexRefine)."""

    start: int
    scan: Any
    refine: Any
    both: Any

    @property
    def rows(self) -> int:
        """How many they are."""
        return int(self.refine.ntotal)


class Slices:
    """The slices of a segment, each searched on a thread of its own."""

    def __init__(self, faiss: Any, scan: Any, refine: Any, count: int) -> None:
        """`count`: 1 for a segment that grows or has inverted lists. More take the codes out of `scan`."""
        if count == 1:
            self._slices = [Slice(0, scan, refine, faiss.IndexRefine(scan, refine))]
            self._pool = None
            return
        self._slices = _cut(faiss, scan, refine, count)
        threads = min(count, cores())
        self._pool = ThreadPoolExecutor(threads, "askew-slice", lambda: limit_threads(faiss, 1))
        # The slices refer to the scalar codes where they lie.
        self._owner = refine

    def __len__(self) -> int:
        return len(self._slices)

    def append(self, vectors: Any) -> None:
        """Code vectors, float32 [n, D] in the codes' order, as further rows of the only slice."""
        (only,) = self._slices
        only.both.add(vectors)

    def nearest(self, search: Callable[[Slice], tuple[Scores, Rows]], count: int) -> tuple[Scores, Rows]:
        """The best `count` of what `search` finds in each slice; its rows are counted from the slice's start."""
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


def _cut(faiss: Any, scan: Any, refine: Any, count: int) -> list[Slice]:
    rows = int(scan.ntotal)
    starts = [round(rows * number / count / _FASTSCAN_BLOCK) * _FASTSCAN_BLOCK for number in range(count)]
    packed = faiss.rev_swig_ptr(scan.codes.get(), scan.codes.size())
    scalar = faiss.rev_swig_ptr(refine.codes.data(), rows * refine.code_size)
    slices = []
    for start, end in zip(starts, [*starts[1:], rows], strict=True):
        scan_part = _scan_of(faiss, scan, packed, start, end)
        refine_part = _refine_of(faiss, refine, scalar, start, end)
        slices.append(Slice(start, scan_part, refine_part, faiss.IndexRefine(scan_part, refine_part)))
    scan.reset()
    return slices


def _scan_of(faiss: Any, scan: Any, packed: Any, start: int, end: int) -> Any:
    """A FastScan index of some rows: a copy of their codes."""
    part = faiss.IndexPQFastScan(scan.d, scan.pq.M, scan.pq.nbits, scan.metric_type)
    part.pq = scan.pq
    part.is_trained = True
    padded = -(-(end - start) // _FASTSCAN_BLOCK) * _FASTSCAN_BLOCK
    row_bytes = scan.M2 // 2
    codes = packed[start * row_bytes : (start + padded) * row_bytes]
    part.codes.resize(len(codes))
    faiss.memcpy(part.codes.get(), faiss.swig_ptr(codes), len(codes))
    part.ntotal, part.ntotal2 = end - start, padded
    return part


def _refine_of(faiss: Any, refine: Any, scalar: Any, start: int, end: int) -> Any:
    """Scalar codes of some rows, where they lie."""
    part = faiss.IndexScalarQuantizer(refine.d, refine.sq.qtype, refine.metric_type)
    part.sq = refine.sq
    part.is_trained = True
    codes = scalar[start * refine.code_size : end * refine.code_size]
    part.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), len(codes), refine.codes.owner)
    part.ntotal = end - start
    return part
