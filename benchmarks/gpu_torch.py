"""An engine for the process of the GPU that needs torch and no FAISS with GPU support: to measure where only torch is.

The same form as askew_server/index/gpu/on_gpu.py. The server never uses it.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray


class FlatOnTorch:
    """Vectors as float16 on one device; a search compares a query with all of them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._blocks: list[torch.Tensor] = []
        self._rows: torch.Tensor | None = None

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add further rows, float32 [n, D]."""
        self._blocks.append(torch.from_numpy(vectors).to(self._device, torch.float16))

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The nearest rows."""
        if self._blocks:
            rows = torch.cat([*([] if self._rows is None else [self._rows]), *self._blocks])
            self._rows, self._blocks = rows, []
        assert self._rows is not None
        asked = torch.from_numpy(queries).to(self._device, torch.float16)
        scores, found = torch.topk(asked @ self._rows.T, count)
        return scores.float().cpu().numpy(), found.cpu().numpy()


def device_count() -> int:
    """How many GPUs there are; one processor where there is none."""
    return torch.cuda.device_count() or 1


class TorchDevice:
    """One GPU, or the processor."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def open_part(self, dim: int) -> FlatOnTorch:
        """An empty index."""
        return FlatOnTorch(self._device)


def open_device(device: int) -> TorchDevice:
    """A device of this process."""
    return TorchDevice(torch.device("cuda", device) if torch.cuda.is_available() else torch.device("cpu"))


def version() -> str:
    """What searches here, in words."""
    return f"torch {torch.__version__}"


def seconds_of_one_pass(megabytes: int) -> float:
    """The least time in which the first device reads this many bytes of float16."""
    where = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    values = torch.ones(max(1, megabytes) * 500_000, dtype=torch.float16, device=where)
    times = []
    for _ in range(12):
        if where.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        # The host waits for the result.
        float(values.max())
        times.append(time.perf_counter() - began)
    return min(times)
