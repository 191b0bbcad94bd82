"""The rows of a main segment on the GPU: an engine that finds them there, and leaves filters to the CPU's index."""

from __future__ import annotations

import numpy as np

from askew_client.contract.indexes import IndexKind
from askew_server.index.gpu.exchange import NEAREST
from askew_server.index.gpu.process import GpuLate, GpuLost, GpuProcess
from askew_server.index.masked import EngineLost, RowEngine
from askew_server.index.types import Mask, Rows, Scores, Vectors


class GpuEngine:
    """Searches the rows of a main segment. See RowEngine. The search thread uses it."""

    exact = True
    max_nearest = NEAREST
    kind: IndexKind = "gpu-exact"

    def __init__(self, process: GpuProcess, rows: Rows, on_cpu: RowEngine) -> None:
        """`rows`: the main segment's row of each row on the GPU. `on_cpu`: the CPU's engine of the same segment."""
        self.process = process
        self._rows = rows
        self._on_cpu = on_cpu
        self.used_cpu = False

    @property
    def is_ready(self) -> bool:
        """Whether the next search may be asked of it. Never blocks."""
        return self.process.lost is None and not self.process.is_late

    def nearest(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        """The nearest rows. Raises EngineLost."""
        try:
            scores, found = self.process.search(np.ascontiguousarray(queries, dtype=np.float32), count)
        except (GpuLost, GpuLate) as error:
            raise EngineLost(str(error)) from None
        if not self._are_rows(scores, found):
            self.process.give_up("The GPU answered with rows that cannot be: unknown, repeated, or out of order.")
            raise EngineLost
        return scores, np.where(found >= 0, self._rows[found], -1)

    def _are_rows(self, scores: Scores, found: Rows) -> bool:
        """Whether this can be an answer at all: rows that there are, each once, in the order of scores, which are numbers."""
        inside = (found >= -1) & (found < len(self._rows))
        ordered = np.sort(found, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        in_order = scores[:, 1:] <= scores[:, :-1]
        return bool(inside.all() and in_order.all() and not repeated.any() and not np.isnan(scores).any())

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        """The nearest of the rows in the mask, by the CPU's index: FAISS on the GPU takes no mask."""
        self.used_cpu = True
        return self._on_cpu.flat(queries, count, mask)

    def nearest_seconds(self, count: int) -> float:
        # Over-fetching costs the GPU little: as long as its kernels can do it, it answers.
        return 0.0

    def flat_seconds(self, admitted: int) -> float:
        return self._on_cpu.flat_seconds(admitted)
