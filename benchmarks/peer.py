"""Measure one configuration of one peer of Askew; run by benchmarks/peers.py in an environment with the peers.

    python peer.py NAME CONFIGURATION VECTORS OWN

VECTORS holds stored.npy, queries.npy (float32, unit length) and truth.npy (int64). OWN is an empty folder for the store's
files, and for result.json, which is written anew after each step, so that the caller sees how far it came. CONFIGURATION is
a position in the store's list. Of its search efforts, the smallest that reaches a recall@10 of 0.99 is measured, or else
the largest.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stores.registry import STORES
from stores.store import LIMIT, Setting, Store

WANTED = 0.99
SCREENED = 50
"""Queries that show that an effort is far too small."""
FAR = 0.02
CONFIRMED = 500
"""Queries that the reported recall is of."""
SEARCH_SECONDS = 240.0
"""After these, no further effort is tried."""
RESULT = "result.json"


def main() -> None:
    name, position, vectors, own = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    stored, queries = np.load(vectors / "stored.npy", mmap_mode="r"), np.load(vectors / "queries.npy")
    truth = np.load(vectors / "truth.npy")
    kind = STORES[name]
    store = kind(kind.configurations[position], own)
    result: dict[str, Any] = {"name": kind.label, "configuration": store.configuration.name, "threads": kind.threads}
    began = time.perf_counter()
    store.insert(np.asarray(stored))
    result["insert_seconds"] = time.perf_counter() - began
    _write(result, own)
    began = time.perf_counter()
    store.build()
    # What a store leaves for its first search is part of building.
    store.set_effort(store.efforts[0])
    store.search(queries[0])
    result["build_seconds"] = time.perf_counter() - began
    _write(result, own)
    result["tried"] = {}
    for effort, recall in _sweep(store, queries, truth):
        result["effort"], result["recall"] = effort.name, recall
        result["tried"][effort.name] = recall
        _write(result, own)
    times = _times(store, queries)
    result["rate"] = 1000 * len(times) / sum(times)
    result["median"], result["p99"] = (float(p) for p in np.percentile(times, [50, 99]))
    result["anonymous_mb"] = sum(own_bytes(process.pid) for process in store.processes()) / 1e6
    result["done"] = True
    _write(result, own)


def own_bytes(process_id: int) -> int:
    """A process's private memory and its share of shared memory, without mapped files, which the system may drop."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def recall_of(found: Sequence[list[int]], truth: NDArray[np.int64]) -> float:
    """The share of the ten true nearest that were found, averaged over the queries of `found`, the first of `truth`."""
    shares = [len(set(row) & set(true[:LIMIT].tolist())) / LIMIT for row, true in zip(found, truth, strict=False)]
    return float(np.mean(shares))


def _sweep(store: Store, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Iterator[tuple[Setting, float]]:
    """Efforts, ascending, until one reaches the recall; of far too small ones, the recall is of few queries."""
    began = time.perf_counter()
    for effort in store.efforts:
        store.set_effort(effort)
        found = [store.search(query) for query in queries[:SCREENED]]
        recall = recall_of(found, truth)
        if recall >= WANTED - FAR or effort == store.efforts[-1]:
            found += [store.search(query) for query in queries[SCREENED:CONFIRMED]]
            recall = recall_of(found, truth)
        yield effort, recall
        if recall >= WANTED or time.perf_counter() - began > SEARCH_SECONDS:
            break


def _times(store: Store, queries: NDArray[np.float32]) -> list[float]:
    """Milliseconds of each search, one after another, for up to 20 seconds."""
    times: list[float] = []
    began = time.perf_counter()
    for query in queries:
        started = time.perf_counter()
        store.search(query)
        times.append(1000 * (time.perf_counter() - started))
        if time.perf_counter() - began > 20:
            break
    return times


def _write(result: dict[str, Any], own: Path) -> None:
    part = own / f"{RESULT}.part"
    part.write_text(json.dumps(result))
    part.rename(own / RESULT)


if __name__ == "__main__":
    main()
