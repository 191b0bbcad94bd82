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
        # A process that goes wrong must not make this one read beyond its table.
        is_row = (found >= 0) & (found < len(self._rows))
        return np.where(is_row, scores, -np.inf), np.where(is_row, self._rows[np.where(is_row, found, 0)], -1)

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        """The nearest of the rows in the mask, by the CPU's index: FAISS on the GPU takes no mask."""
        self.used_cpu = True
        return self._on_cpu.flat(queries, count, mask)

    def nearest_seconds(self, count: int) -> float:
        # Over-fetching costs the GPU little: as long as its kernels can do it, it answers.
        return 0.0

    def flat_seconds(self, admitted: int) -> float:
        return self._on_cpu.flat_seconds(admitted)
