"""Revisited Oxford with distractors, ranked in a stream, beside bare NumPy over the same files.

    python benchmarks/ranking.py [--distractors 1000000] [--dim 2048] [--queries 70] [--folder DIR] [--turns 3]

The distractors are drawn and written as float16 shards first. Bare NumPy reads each shard, converts it to float32,
multiplies, and keeps all scores; `sorted` also sorts them, which is what a ranking is. Ours reads the same files in
blocks, and keeps what the metrics need. Each turn runs each of them in a process of its own; its seconds, its processor
seconds (which do not count what else the machine does) and its peak memory are printed. `--folder` keeps the shards for
another run; the default is a temporary folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_training.evaluate.measurement import Side
from askew_training.evaluate.revisited.ground_truth import GroundTruth, Query
from askew_training.evaluate.revisited.measuring import Conditions, Distractors, measure_revisited
from askew_training.vectors.vector_blocks import open_blocks

GALLERY = 4993
SHARD = 50_000
WAYS = ("bare", "sorted", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distractors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        run(options.way, options.folder, options.queries, options.dim)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        draw(folder, options.distractors, options.dim)
        print(f"{options.queries} queries × ({GALLERY:,} + {options.distractors:,}) × {options.dim}, float16 shards")
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for turn in range(1, options.turns + 1):
            for way in WAYS:
                command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
                command += ["--queries", str(options.queries), "--dim", str(options.dim)]
                text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seconds, processor, megabytes = map(float, text.split())
                taken[way].append((seconds, processor))
                print(
                    f"turn {turn}: {way:7} {seconds:6.1f} s, {processor:6.1f} processor s, peak memory {megabytes:,.0f} MB",
                    flush=True,
                )
    for way in ("bare", "sorted"):
        ratios = [
            min(each) / min(other)
            for each, other in zip(zip(*taken["ours"], strict=True), zip(*taken[way], strict=True), strict=True)
        ]
        print(
            f"ours / {way}: {ratios[0]:.3f} in seconds, {ratios[1]:.3f} in processor seconds (best of {options.turns})"
        )


def draw(folder: Path, distractors: int, dim: int) -> None:
    """Write unit vectors as shards of SHARD rows, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, distractors, SHARD)):
        file, count = folder / f"{number:04}.npy", min(SHARD, distractors - start)
        if not file.is_file():
            np.save(file, unit(count, dim, number).astype(np.float16))


def unit(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def run(way: str, folder: Path, queries: int, dim: int) -> None:
    """Print the seconds, without those to draw queries and gallery, and the peak memory in MB."""
    asked, gallery = unit(queries, dim, 1_000_001), unit(GALLERY, dim, 1_000_002)
    random = np.random.default_rng(3)
    chosen = [np.split(random.choice(GALLERY, 150, replace=False), (60, 110)) for _ in range(queries)]
    for query, (easy, hard, junk) in zip(asked, chosen, strict=True):
        # What is judged scores as it does with a good network: from 0.2 to 0.8, where distractors seldom come.
        rows = np.concatenate([easy, hard, junk])
        share = random.uniform(0.2, 0.8, (len(rows), 1)).astype(np.float32)
        gallery[rows] = share * query + np.sqrt(1 - share**2) * gallery[rows]
    started, processor = time.perf_counter(), time.process_time()
    if way == "ours":
        measure(asked, gallery, chosen, folder)
    else:
        bare(asked, gallery, folder, is_sorted=way == "sorted")
    print(time.perf_counter() - started, time.process_time() - processor, peak_memory() / 1e6)


def peak_memory() -> int:
    """In bytes. Not `ru_maxrss`, which a process inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


def bare(asked: NDArray[np.float32], gallery: NDArray[np.float32], folder: Path, is_sorted: bool) -> None:
    parts = [asked @ gallery.T]
    parts += [asked @ np.load(file).astype(np.float32).T for file in sorted(folder.glob("*.npy"))]
    scores = np.concatenate(parts, axis=1)
    if is_sorted:
        for row in scores:
            np.argsort(-row, kind="stable")


def measure(
    asked: NDArray[np.float32], gallery: NDArray[np.float32], chosen: list[list[NDArray[np.int64]]], folder: Path
) -> None:
    truth = GroundTruth(
        tuple(f"photo {row}" for row in range(len(gallery))),
        tuple(Query(f"query {i}", (0, 0, 1, 1), "", *grades) for i, grades in enumerate(chosen)),
        folder,
    )
    side = Side(encoder="s@1", sha256="0" * 64, space_id="", dim=asked.shape[1], photo_size=1024, scales=(1.0,))
    blocks = open_blocks(folder, asked.shape[1], None)
    for each in measure_revisited(truth, asked, gallery, Conditions("roxford5k", side, side), Distractors(blocks)):
        assert 0 < each.mean_average_precision <= 1
        assert each.distractors == len(blocks)


if __name__ == "__main__":
    main()
