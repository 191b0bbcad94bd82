"""Time and memory to find hard negatives of 2,000 queries among 20,000 rows of 2048, compared with bare FAISS.

    python benchmarks/mining.py [--cached 100000] [--rounds 3]

The cache holds random unit vectors in half precision; the pool is 20,000 of its rows, in 5,000 clusters. FAISS searches
for the number of neighbours that the mining starts with (40). It has the pool in memory, and neither skips clusters nor
reads the cache. Anonymous memory is the memory of the process without mapped files, as counted by Linux (RssAnon).
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import torch

from askew_training.train.mining import hard_negatives
from askew_training.vectors.manifest import Dtype
from askew_training.vectors.npy_import import import_npy
from askew_training.vectors.teacher_vectors import TeacherVectors

DIM, POOL, QUERIES, NEGATIVES = 2048, 20_000, 2_000, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cached", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_cache(folder, chosen.cached)
        teacher = TeacherVectors.open(folder / "vectors")
        random = np.random.default_rng(0)
        rows = np.sort(random.choice(len(teacher), POOL, replace=False))
        clusters = random.integers(0, 5_000, len(teacher))
        anchors = unit(random.normal(size=(QUERIES, DIM)).astype(np.float32))
        own = random.integers(0, 5_000, QUERIES)
        with LargestAnonymous() as memory:
            of_askew = []
            for _ in range(chosen.rounds):
                start = time.perf_counter()
                hard_negatives(anchors, own, Pool(teacher, rows), clusters[rows], NEGATIVES)
                of_askew.append(time.perf_counter() - start)
        pool = teacher.rows(rows)
        of_faiss = []
        for _ in range(chosen.rounds):
            start = time.perf_counter()
            index = faiss.IndexFlatIP(DIM)
            index.add(pool)
            index.search(anchors, 8 * NEGATIVES)
            of_faiss.append(time.perf_counter() - start)
    print(f"{QUERIES} queries, a pool of {POOL} of {chosen.cached} x {DIM}, {torch.get_num_threads()} threads")
    print(f"read and mine       {seconds(of_askew)} s")
    print(f"bare IndexFlatIP    {seconds(of_faiss)} s (FAISS {faiss.omp_get_max_threads()} threads)")
    print(f"anonymous memory    {memory.before / 1e6:.0f} MB before, {memory.largest / 1e6:.0f} MB at its largest")


@dataclass(frozen=True)
class Pool:
    """Some rows of a cache, read on demand, as the trainer does."""

    teacher: TeacherVectors
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        return self.teacher.rows(self.chosen[indices])


def make_cache(folder: Path, count: int) -> None:
    random = np.random.default_rng(1)
    whole = np.lib.format.open_memmap(folder / "v.npy", mode="w+", dtype=np.float16, shape=(DIM, count))
    for start in range(0, count, 10_000):
        part = unit(random.normal(size=(min(10_000, count - start), DIM)).astype(np.float32))
        whole[:, start : start + len(part)] = part.T
    whole.flush()
    (folder / "ids.txt").write_text("".join(f"{number}\n" for number in range(count)))
    import_npy(folder / "v.npy", folder / "ids.txt", "sp1-" + "0" * 32, folder / "vectors", Dtype.f16, 362)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def seconds(times: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in times)


class LargestAnonymous:
    """The largest anonymous memory of this process, sampled every 10 ms."""

    def __enter__(self) -> LargestAnonymous:
        self.before = self.largest = anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.largest = max(self.largest, anonymous())


def anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This benchmark reads Linux's /proc.")


if __name__ == "__main__":
    main()
