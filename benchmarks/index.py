"""The index alone, on vectors like a gallery's: recall, times, bytes, and the cost of filters.

    python benchmarks/index.py [--items 100000] [--dim 2048] [--kind two-stage] [--folder DIR]

Vectors are written to a file first and memory-mapped, so that the memory figures are the index's own. Recall is that of
a gallery: the index returns ten and a margin, which are ordered by the stored float16 vectors. One query at a time, on
all cores but one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import psutil
from clustered import clustered_blocks
from numpy.typing import NDArray

from askew_server.index.build import Progress, build_main
from askew_server.index.on_disk import open_main, verify_blocks
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.threads import search_threads
from askew_server.index.types import CodedKind, Labels, Vectors

QUERIES = 300
LIMIT = 10
SHARES = (0.5, 0.05, 0.001)
BATCH = 64
BLOCK = 10_000


@dataclass(frozen=True)
class Stored:
    """float16 vectors in a file, with the labels 1, 2, …"""

    path: Path
    items: int
    dim: int

    def rows(self) -> NDArray[np.float16]:
        return np.memmap(self.path, dtype="<f2", mode="r", shape=(self.items, self.dim))

    def covered(self) -> tuple[int, Labels]:
        return self.items, np.arange(1, self.items + 1)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        rows = self.rows()
        for start in range(0, len(labels), 4_096):
            part = labels[start : start + 4_096]
            yield part, rows[part - 1].astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--kind", choices=get_args(CodedKind), default="two-stage")
    parser.add_argument("--folder", type=Path, help="where vectors and index are written (a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        stored, queries = write_vectors(Path(name) / "vectors.f16", options.items, options.dim)
        build(stored, Path(name) / "index", options.kind)
        measure(stored, queries, Path(name) / "index")


def write_vectors(path: Path, items: int, dim: int) -> tuple[Stored, Vectors]:
    """Write `items` vectors to a file. Returns them and the queries: others from the same clusters, float32 [300, dim]."""
    left, queries = items, []
    with path.open("wb") as stream:
        for block in clustered_blocks(items + QUERIES, dim):
            block[:left].astype("<f2").tofile(stream)
            queries.append(block[left:])
            left = max(0, left - len(block))
    return Stored(path, items, dim), np.concatenate(queries).astype(np.float16).astype(np.float32)


def build(stored: Stored, folder: Path, kind: CodedKind) -> None:
    stages: dict[str, float] = {}
    began = time.perf_counter()

    def report(step: Progress) -> None:
        stages.setdefault(step.stage, time.perf_counter() - began)

    record = build_main(stored, folder, kind, report)
    threads = search_threads()
    print(f"{stored.items} x {stored.dim}, {kind}, {threads} thread(s) for FAISS, one for BLAS")
    print(f"built in {record.build_seconds:.0f} s; stages from second", {n: round(s) for n, s in stages.items()})
    chosen = record.calibration
    print(f"refined from {record.refine}, k_factor {chosen.k_factor:.0f}, nprobe {chosen.nprobe}", end="; ")
    print(f"calibrated recall@10 {chosen.recall_plain:.4f} plain, {chosen.recall_moved:.4f} moved to 0.8")


def measure(stored: Stored, queries: Vectors, folder: Path) -> None:
    before = anonymous_bytes()
    began = time.perf_counter()
    opened = open_main(folder, stored.dim)
    print(f"opened in {1000 * (time.perf_counter() - began):.0f} ms", end=", ")
    began = time.perf_counter()
    assert [step.damage for step in verify_blocks(folder) if step.damage] == []
    print(f"every block verified in {time.perf_counter() - began:.1f} s")
    assert opened.main is not None
    began = time.perf_counter()
    opened.main.page_in()
    print(f"paged in within {time.perf_counter() - began:.2f} s")
    index = SegmentedIndex(stored.dim, opened.main)
    index.search(queries[:1], LIMIT)
    statistics = index.statistics()
    raw = 4 * stored.items * stored.dim
    share = (statistics.bytes_memory + statistics.bytes_mapped) / raw
    print(
        f"memory {megabytes(statistics.bytes_memory)}, mapped {megabytes(statistics.bytes_mapped)}: "
        f"{share:.1%} of float32",
        end="; ",
    )
    print(f"anonymous memory grew by {megabytes(anonymous_bytes() - before)}")
    times(index, stored, queries, "all", None)
    random = np.random.default_rng(1)
    for part in SHARES:
        allowed = 1 + np.flatnonzero(random.random(stored.items) < part)
        times(index, stored, queries, f"filter {part:.1%}", allowed)
    began = time.perf_counter()
    for start in range(0, len(queries), BATCH):
        index.search(queries[start : start + BATCH], index.to_fetch(LIMIT, exact=False))
    print(f"batches of {BATCH}: {len(queries) / (time.perf_counter() - began):.0f} queries a second")
    found = index.search(queries[:50], index.to_fetch(LIMIT, exact=True), None, exact=True)
    print(f"exact searches: recall@10 {recall(found, truth(stored, queries[:50], None)):.5f}")


def times(index: SegmentedIndex, stored: Stored, queries: Vectors, name: str, allowed: Labels | None) -> None:
    fetched = index.to_fetch(LIMIT, exact=False)
    found, milliseconds = [], []
    # The first round is a warm-up that pages the codes in.
    for _ in range(2):
        found, milliseconds = [], []
        for query in queries:
            began = time.perf_counter()
            found.append(index.search(query[None], fetched, allowed)[0])
            milliseconds.append(1000 * (time.perf_counter() - began))
    reached = recall(np.array(found), truth(stored, queries, allowed))
    print(
        f"{name:13} recall@10 {reached:.4f}  median {np.median(milliseconds):6.2f} ms  "
        f"p99 {np.percentile(milliseconds, 99):6.2f} ms  {1000 / np.mean(milliseconds):6.0f} a second"
    )


def truth(stored: Stored, queries: Vectors, allowed: Labels | None) -> Labels:
    """The labels of the true nearest: int64 [n, 10], by falling score."""
    rows = stored.rows()
    scores = np.empty((len(queries), 0), dtype=np.float32)
    labels = np.empty((len(queries), 0), dtype=np.int64)
    every = stored.covered()[1] if allowed is None else allowed
    for start in range(0, len(every), BLOCK):
        here = every[start : start + BLOCK]
        scores = np.hstack([scores, queries @ rows[here - 1].astype(np.float32).T])
        labels = np.hstack([labels, np.broadcast_to(here, (len(queries), len(here)))])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :LIMIT]
        scores, labels = np.take_along_axis(scores, order, 1), np.take_along_axis(labels, order, 1)
    return labels


def recall(found: Labels, true: Labels) -> float:
    """The share of the true nearest among the labels found, and so among the first ten once these are ordered."""
    return float(np.mean([np.isin(nearest, row).mean() for nearest, row in zip(true, found, strict=True)]))


def anonymous_bytes() -> int:
    memory = psutil.Process().memory_info()
    return int(memory.rss - memory.shared)


def megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
