"""An engine for the process of the GPU that fails on demand; the rest of that process is the real one.

`ASKEW_TEST_GPU_FAULT` names the fault, `ASKEW_TEST_GPU_FOLDER` a folder. A fault that ends the process happens as long
as the folder holds a file `faulty`; a test removes it to let the next process work.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_server.index.gpu.on_cpu import FlatOnCpu, device_count, version

__all__ = ["device_count", "open_device", "version"]

FAULT = "ASKEW_TEST_GPU_FAULT"
FOLDER = "ASKEW_TEST_GPU_FOLDER"

_ASSERTION = "Faiss assertion 'err__ == cudaSuccess' failed: CUDA error 209 no kernel image is available"


class FaultyPart(FlatOnCpu):
    """A flat index that is faulty while the folder holds `faulty`."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._rows = 0

    def add(self, vectors: NDArray[np.float32]) -> None:
        match _fault():
            case "abort":
                sys.stderr.write(f"{_ASSERTION}\n")
                sys.stderr.flush()
                os.abort()
            case "full":
                raise RuntimeError("Error in StandardGpuResourcesImpl: CUDA error 2 out of memory")
            case "hang":
                time.sleep(3_600)
        super().add(vectors)
        self._rows += len(vectors)

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores, rows = super().search(queries, count)
        if self._rows == 512:
            # The trial before loading, which these faults let pass.
            return scores, rows
        match _fault():
            case "other scores":
                scores = scores * np.float32(0.9)
            case "no numbers":
                scores = np.full_like(scores, np.nan)
            case "other rows":
                rows = (rows + 7) % self._rows
            case "misses":
                scores, rows = super().search(queries, count + 5)
                scores, rows = scores[:, 5:], rows[:, 5:]
            case "slow":
                time.sleep(0.4)
            case "one row":
                rows = np.full_like(rows, rows[0, 0])
            case "impossible rows":
                rows = rows + 10**12
            case "search fails":
                raise RuntimeError("CUDA error 700 an illegal memory access was encountered")
        return scores, rows


class FaultyDevice:
    def open_part(self, dim: int) -> FaultyPart:
        return FaultyPart(dim)


def open_device(device: int) -> FaultyDevice:
    return FaultyDevice()


def _fault() -> str:
    return os.environ[FAULT] if (Path(os.environ[FOLDER]) / "faulty").exists() else ""
