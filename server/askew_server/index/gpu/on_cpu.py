"""What on_gpu.py does, on the processor: to try the arrangement of processes where there is no GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_client.cores import usable_cores
from askew_server.index.faiss_library import faiss_version, flat_index, limit_faiss_threads


class FlatOnCpu:
    """Vectors as float16 in memory; a search compares a query with all of them."""

    def __init__(self, dim: int) -> None:
        self._index: Any = flat_index(dim)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add further rows, float32 [n, D]."""
        self._index.add(vectors)

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The nearest rows. `count`: not more than there are."""
        # FAISS keeps the limit for each calling thread, and the parts have one each.
        limit_faiss_threads(max(1, usable_cores() - 1))
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._index.search(queries, count)
        return found


def device_count() -> int:
    """One processor, as often as it is asked for."""
    return 64


class Cpu:
    """The processor."""

    def open_part(self, dim: int) -> FlatOnCpu:
        """An empty index of vectors of `dim` components."""
        return FlatOnCpu(dim)


def open_device(device: int) -> Cpu:
    """Every device is the processor."""
    return Cpu()


def version() -> str:
    """What searches here, in words."""
    return f"FAISS {faiss_version()}"
