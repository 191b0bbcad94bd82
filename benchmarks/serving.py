"""POST /search with a raw f16 body beside the bare FAISS call: 10,000 × 2048, one client, one query at a time.

    python benchmarks/serving.py [--items 10000] [--dim 2048] [--queries 400]

Both search the same stored vectors with the same number of FAISS threads, in turns within one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from served import served

from askew_client.client import Client
from askew_client.contract.manifest import Manifest, golden_text
from askew_server.galleries import Galleries
from askew_server.settings import Settings
from askew_server.store import StoredItem

SPACE = "sp1-" + "0" * 32


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
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        fill(data, stored)
        with served(Settings(data=data, port=0)) as url, Client(url) as client:
            bare, answered = [], []
            for number, query in enumerate(queries):
                started = time.perf_counter()
                _, labels = index.search(query[None].astype(np.float16).astype(np.float32), 10)
                between = time.perf_counter()
                answer = client.search(query, space=SPACE, limit=10)
                ended = time.perf_counter()
                assert {hit.id for hit in answer.hits} == {f"item-{label:07d}" for label in labels[0]}
                if number >= 20:
                    bare.append(1000 * (between - started))
                    answered.append(1000 * (ended - between))
    print(f"{options.items} x {options.dim}, {len(bare)} queries, FAISS threads {threads}, cores {os.cpu_count()}")
    for name, times in (("bare FAISS", bare), ("POST /search", answered)):
        print(f"{name:14} median {statistics.median(times):6.2f} ms   p99 {np.percentile(times, 99):6.2f} ms")
    print(f"added          median {statistics.median(a - b for a, b in zip(answered, bare, strict=True)):6.2f} ms")


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
