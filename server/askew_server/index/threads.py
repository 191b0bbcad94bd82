"""How many threads a search may take, and who runs them.

One core is left to the event loop, save by searches so long that it has little to do meanwhile (slices.py). OpenBLAS
threads spin for some 20 ms after every product (30 ms of processor time for a product of 5 ms, measured on 2 cores),
which starves a server; so BLAS gets one thread, and large products are split over threads of our own (exact.py), which
sleep when they have nothing to do. FAISS counts its threads for each calling thread, so the thread that searches must
say it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import threadpoolctl


def cores() -> int:
    """The processor cores that this process may use."""
    return min(len(os.sched_getaffinity(0)), _cores_of_container(Path("/sys/fs/cgroup")))


def search_threads() -> int:
    """The processor cores that this process may use, less one; at least 1."""
    return max(1, cores() - 1)


def limit_threads(faiss: Any, threads: int) -> None:
    """Limit FAISS in the calling thread, and BLAS in the whole process."""
    faiss.omp_set_num_threads(threads)
    threadpoolctl.threadpool_limits(1, user_api="blas")


def _cores_of_container(cgroup: Path) -> int:
    """The cores that a container's quota grants; a large number where there is no quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return 1_000_000
