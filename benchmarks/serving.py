"""POST /search, compared with bare calls of the same index with the same number of threads.

    python benchmarks/serving.py [--items 100000] [--flat-items 10000] [--dim 2048] [--seconds 8] [--vectors FOLDER]

Two galleries of clustered vectors, or of real ones, with payloads are searched with raw float16 bodies for ten hits:

* two-stage: the bare loop opens the server's index files in this process and searches them, one query at a time, on one
  thread. It is compared with 1, 16 and 64 clients; and with one client when both pause as long after each answer, since a
  search that follows another at once finds more of its index in the processor's caches.
* exact: 64 clients are compared with bare FAISS (IndexFlatIP) and a bare numpy matrix product, both in batches of 64 on
  as many threads as the server uses (cores - 1).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from chosen_vectors import HELP, SYNTHETIC, ChosenVectors, choose_vectors
from clustered import exact_neighbours, recall
from load import Load, load, post_requests
from measured_gallery import MeasuredGallery
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from askew_client.contract.wire import pack
from askew_server.index.on_disk import open_main
from askew_server.index.segmented import SegmentedIndex

QUERIES = 500
TURNS = 3
PAUSE = 0.005
"""Seconds after each answer, in the measurement with pauses."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--flat-items", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--vectors", default=SYNTHETIC, metavar=f"{SYNTHETIC}|FOLDER|FILE", help=HELP)
    options = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) - 1)
    faiss.omp_set_num_threads(threads)
    print(f"{os.cpu_count()} cores; FAISS and BLAS threads {threads}, in the server and bare")
    print(f"OPENBLAS_CORETYPE={os.environ.get('OPENBLAS_CORETYPE', 'unset')}")
    with tempfile.TemporaryDirectory() as name, threadpool_limits(threads):
        few = choose_vectors(options.vectors, options.flat_items, QUERIES, options.dim)
        flat(Path(name) / "flat", few, options.seconds)
        del few
        many = choose_vectors(options.vectors, options.items, QUERIES, options.dim)
        two_stage(Path(name) / "two-stage", many, options.seconds)


def two_stage(data: Path, vectors: ChosenVectors, seconds: float) -> None:
    stored, queries = vectors.stored, vectors.queries.astype(np.float16).astype(np.float32)
    items, dim = stored.shape
    truth = exact_neighbours(stored.astype(np.float16).astype(np.float32), queries, 10)
    with MeasuredGallery(data, stored) as gallery:
        print(f"\n{items} x {dim}, {vectors.kind}: {gallery.index()}")
        found = [gallery.search(query) for query in queries]
        print(f"recall@10 over HTTP {recall(found, truth):.4f}")
        opened = open_main(data / "galleries" / "default" / "index", dim)
        if opened.main is None:
            print(opened.damage or "too few vectors for a two-stage index: no bare loop")
            return
        index = SegmentedIndex(dim, opened.main)

        def bare_search(query: NDArray[np.float32]) -> object:
            return index.search(query[None], index.to_fetch(10, exact=False))

        report(gallery, bare_search, queries, seconds, [16, 64])


def report(
    gallery: MeasuredGallery,
    bare_search: Callable[[NDArray[np.float32]], object],
    queries: NDArray[np.float32],
    seconds: float,
    clients: list[int],
) -> None:
    """Run the bare loop, one client and several clients in turns, and print the medians of the turns."""
    requests = post_requests(gallery.url, "/search?limit=10", gallery.headers, [pack(query) for query in queries])
    load(gallery.url, requests, 1, 1)
    bare: list[NDArray[np.float64]] = []
    bare_paused: list[NDArray[np.float64]] = []
    paused: list[Load] = []
    served: dict[int, list[Load]] = {count: [] for count in [1, *clients]}
    for _ in range(TURNS):
        bare.append(bare_loop(bare_search, queries, seconds / TURNS))
        bare_paused.append(bare_loop(bare_search, queries, seconds / TURNS, PAUSE))
        paused.append(load(gallery.url, requests, 1, seconds / TURNS, PAUSE))
        for count, loads in served.items():
            loads.append(load(gallery.url, requests, count, seconds / TURNS))
    bare_rate = statistics.median(1000 / times.mean() for times in bare)
    bare_median = statistics.median(float(np.median(times)) for times in bare)
    print(f"bare loop       {bare_rate:8.0f} /s   median {bare_median:7.2f} ms")
    bare_middle = statistics.median(float(np.median(times)) for times in bare_paused)
    middle = statistics.median(float(np.median(each.milliseconds)) for each in paused)
    print(
        f"with pauses of {1000 * PAUSE:g} ms: bare median {bare_middle:.2f} ms, 1 client {middle:.2f} ms, "
        f"{middle - bare_middle:+.2f} ms"
    )
    for count, loads in served.items():
        rate = statistics.median(each.rate for each in loads)
        middle = statistics.median(float(np.median(each.milliseconds)) for each in loads)
        last = statistics.median(float(np.percentile(each.milliseconds, 99)) for each in loads)
        added = f"   {middle - bare_median:+.2f} ms" if count == 1 else ""
        print(
            f"{count:3} clients     {rate:8.0f} /s   median {middle:7.2f} ms   p99 {last:7.2f} ms   {rate / bare_rate:.2f} of bare{added}"
        )


def bare_loop(
    search: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32], seconds: float, pause: float = 0.0
) -> NDArray[np.float64]:
    """Milliseconds of each search, one after another. `pause`: seconds to wait after each."""
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        started = time.perf_counter()
        search(queries[len(times) % len(queries)])
        times.append(1000 * (time.perf_counter() - started))
        if pause:
            time.sleep(pause)
    return np.array(times)


def flat(data: Path, vectors: ChosenVectors, seconds: float) -> None:
    stored, queries = vectors.stored, vectors.queries.astype(np.float16).astype(np.float32)
    items, dim = stored.shape
    index = faiss.IndexFlatIP(dim)
    index.add(stored.astype(np.float16).astype(np.float32))
    truth = exact_neighbours(stored.astype(np.float16).astype(np.float32), queries, 10)
    with MeasuredGallery(data, stored) as gallery:
        print(f"\n{items} x {dim}, {vectors.kind}: {gallery.index()}")
        found = [gallery.search(query) for query in queries]
        print(f"recall@10 over HTTP {recall(found, truth):.4f}")
        batch = np.ascontiguousarray(queries[:64])
        loops = {
            "FAISS, batches of 64": lambda: index.search(batch, 10),
            "numpy, batches of 64": lambda: np.argpartition(batch @ stored.T, -10, axis=1)[:, -10:],
        }
        rates: dict[str, list[float]] = {name: [] for name in [*loops, "64 clients"]}
        requests = post_requests(gallery.url, "/search?limit=10", gallery.headers, [pack(query) for query in queries])
        load(gallery.url, requests, 64, 1)
        for _ in range(TURNS):
            for name, each in loops.items():
                rates[name].append(64 * rate_of(each, seconds / TURNS))
            rates["64 clients"].append(load(gallery.url, requests, 64, seconds / TURNS).rate)
        bare = statistics.median(rates["FAISS, batches of 64"])
        for name, each in rates.items():
            print(f"{name:22} {statistics.median(each):8.0f} queries/s   {statistics.median(each) / bare:.2f} of FAISS")
        report(gallery, lambda query: index.search(query[None], 10), queries, seconds, [16])


def rate_of(work: Callable[[], object], seconds: float) -> float:
    """How many times per second `work` can be called."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
