"""How many threads a search may use.

One core is left to the event loop, except in searches so long that the loop has little else to do (slices.py).
OpenBLAS threads spin for about 20 ms after every product (30 ms of processor time for a product of 5 ms, measured on 2
cores), which starves a server. So BLAS gets one thread, and large products are split over Askew's own threads
(exact.py), which sleep when they have nothing to do. FAISS keeps its limit for each calling thread, so the search thread
must set it.
"""

from __future__ import annotations

import threadpoolctl

from askew_client.cores import usable_cores
from askew_server.index.faiss_library import limit_faiss_threads


def search_threads() -> int:
    """The processor cores that this process may use, less one; at least 1."""
    return max(1, usable_cores() - 1)


def limit_threads(threads: int) -> None:
    """Limit FAISS to `threads` in the calling thread, and BLAS to one thread in the whole process."""
    limit_faiss_threads(threads)
    threadpoolctl.threadpool_limits(1, user_api="blas")
