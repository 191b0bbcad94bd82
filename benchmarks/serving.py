"""POST /search with a raw f16 body beside the bare FAISS call: 10,000 × 2048, one client, one query at a time.

    python benchmarks/serving.py [--items 10000] [--dim 2048] [--queries 400]

All search the same stored vectors with the same number of FAISS threads, in turns within one run. POST /search is sent
by the standard library's HTTP client, to measure the server; askew_client.Client adds its own convenience.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from served import served

from askew_client.client import Client
from askew_client.contract.manifest import Manifest, golden_text
from askew_client.contract.wire import pack
from askew_server.galleries import Galleries
from askew_server.settings import Settings
from askew_server.store import StoredItem

SPACE = "sp1-" + "0" * 32
BLOCK = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--queries", type=int, default=400)
    options = parser.parse_args()
    vectors = clustered_vectors(options.items + options.queries, options.dim)
    stored, queries = vectors[: options.items], vectors[options.items :]
    threads = max(1, (os.cpu_count() or 1) - 1)
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(options.dim)
    index.add(stored.astype(np.float16).astype(np.float32))
    half = faiss.IndexScalarQuantizer(options.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    half.add(stored.astype(np.float16).astype(np.float32))
    space_headers = {"Content-Type": "application/octet-stream", "Askew-Space": SPACE, "Askew-Dtype": "f16le"}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        fill(data, stored)
        with served(Settings(data=data, port=0)) as url, Client(url) as client:
            connection = http.client.HTTPConnection(url.removeprefix("http://"))

            def post(query: NDArray[np.float32]) -> set[str]:
                connection.request("POST", "/search?limit=10", body=pack(query), headers=space_headers)
                return {hit["id"] for hit in json.loads(connection.getresponse().read())["hits"]}

            def by_client(query: NDArray[np.float32]) -> set[str]:
                return {hit.id for hit in client.search(query, space=SPACE, limit=10).hits}

            calls: dict[str, Callable[[NDArray[np.float32]], set[str]]] = {
                "FAISS IndexFlatIP": lambda query: ids(index.search(query[None], 10)[1]),
                "FAISS SQfp16": lambda query: ids(half.search(query[None], 10)[1]),
                "POST /search": post,
                "askew_client.Client": by_client,
            }
            times = timed_in_turns(calls, queries.astype(np.float16).astype(np.float32))
    bare = statistics.median(times["FAISS IndexFlatIP"])
    print(
        f"{options.items} x {options.dim}, {options.queries} queries, FAISS threads {threads}, cores {os.cpu_count()}"
    )
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:20} median {median:6.2f} ms   p99 {np.percentile(taken, 99):6.2f} ms   {median - bare:+6.2f} ms")


def ids(labels: NDArray[np.int64]) -> set[str]:
    return {f"item-{label:07d}" for label in labels[0]}


def timed_in_turns(
    calls: dict[str, Callable[[NDArray[np.float32]], set[str]]], queries: NDArray[np.float32]
) -> dict[str, list[float]]:
    """Milliseconds of each call for each query: blocks of 40 queries in turns, so that all meet the same machine.

    Each call must find what the first one finds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for start in range(0, len(queries), BLOCK):
        found: list[set[str]] = []
        for name, call in calls.items():
            for number, query in enumerate(queries[start : start + BLOCK]):
                started = time.perf_counter()
                answer = call(query)
                times[name].append(1000 * (time.perf_counter() - started))
                if len(found) <= number:
                    found.append(answer)
                assert answer == found[number], name
    return times


def clustered_vectors(count: int, dim: int) -> NDArray[np.float32]:
    """Unit vectors in clusters, as photos of the same things are: float32 [count, dim]."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(1, count // 20), dim), dtype=np.float32)
    vectors = centres[random.integers(0, len(centres), count)]
    vectors += 0.8 * random.standard_normal((count, dim), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill(data: Path, vectors: NDArray[np.float32]) -> None:
    """Make the gallery `default` of these vectors, described elsewhere."""
    galleries = Galleries(data, owner="the benchmark")
    gallery, _ = galleries.get_or_create("default", manifest(vectors.shape[1]))
    for start in range(0, len(vectors), 1_000):
        items = [
            StoredItem(f"item-{number:07d}", vectors[number], {"title": f"Item {number}"})
            for number in range(start, min(start + 1_000, len(vectors)))
        ]
        gallery.run(lambda each, batch=items: each.upsert(batch))
    galleries.close()


def manifest(dim: int) -> Manifest:
    """A teacher that exists only as the name of a space."""
    golden = np.zeros(dim, dtype=np.float32)
    golden[0] = 1
    return Manifest(
        name="bench", version="1", role="teacher", space_id=SPACE, dim=dim, photo_size=224, scales=[1.0],
        precision="fp32", trunk="none", recipe="none", data=[], metrics={}, licence="none",
        golden={"small": golden_text(golden)}, tolerance=1e-4,
    )  # fmt: skip


if __name__ == "__main__":
    main()
