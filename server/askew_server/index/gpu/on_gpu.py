"""FAISS on one GPU. The only calls of FAISS's GPU classes are here; child.py imports this module in its own process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_server.index.faiss_library import faiss_version, faiss_with_gpu

_TEMPORARY_BYTES = 512 << 20
"""FAISS would take 1.5 GiB on each card, in each process."""


class FlatOnGpu:
    """Vectors as float16 on one GPU; a search compares a query with all of them."""

    def __init__(self, dim: int, device: int, resources: Any) -> None:
        """Raises RuntimeError; may abort the process."""
        faiss = faiss_with_gpu()
        config = faiss.GpuIndexFlatConfig()
        config.device = device
        config.useFloat16 = True
        if hasattr(config, "use_cuvs"):
            # cuVS's kernels have other limits on the number of neighbours.
            config.use_cuvs = False
        self._index: Any = faiss.GpuIndexFlatIP(resources, dim, config)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add further rows, float32 [n, D]. Raises RuntimeError."""
        self._index.add(vectors)

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The nearest rows. `count`: not more than there are. Raises RuntimeError."""
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._index.search(queries, count)
        return found


def device_count() -> int:
    """How many GPUs this process can use."""
    return int(faiss_with_gpu().get_num_gpus())


class Gpu:
    """One GPU, and FAISS's memory on it, which all of its indexes share."""

    def __init__(self, device: int) -> None:
        """`device`: among the GPUs that this process sees. Raises RuntimeError."""
        self._device = device
        self._resources = faiss_with_gpu().StandardGpuResources()
        self._resources.setTempMemory(_TEMPORARY_BYTES)

    def open_part(self, dim: int) -> FlatOnGpu:
        """An empty index of vectors of `dim` components."""
        return FlatOnGpu(dim, self._device, self._resources)


def open_device(device: int) -> Gpu:
    """A device of this process."""
    return Gpu(device)


def version() -> str:
    """What searches here, in words."""
    return f"FAISS {faiss_version()}"
