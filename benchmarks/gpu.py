"""A gallery on the GPU: latency, recall, memory, beside a bare call of the same engine and one pass over the memory.

    python benchmarks/gpu.py [--items 1000000] [--dim 2048] [--device 0] [--http-items 100000]
    python benchmarks/gpu.py --device cpu --items 20000 --dim 256 --http-items 3000 --repeats 5     # to try it
    python benchmarks/gpu.py --engine torch                                     # where torch is, and no faiss-gpu

It prints one table. `process`: askew's process of the GPU, asked through shared memory, as the server does. `bare`: the
same engine called in a process of its own. `pass`: reading all vectors as float16 once, measured with torch, if it is
there. Over HTTP (not with --engine torch): a real server with a gallery of --http-items; its two-stage index is built
first, on the CPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from gpu_vectors import Stored, Vectors, true_nearest, write_vectors

from askew_server.index.gpu.cards import read_cards
from askew_server.index.gpu.options import GpuOptions

HERE = Path(__file__).parent
BATCHES = (1, 16, 64, 256)
LIMIT = 18
"""Ten hits and the margin that the server asks for."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one process. `times`: median and 99th percentile, in seconds, by the number of queries."""

    times: dict[int, tuple[float, float]]
    load: float
    engine: str = ""
    recall: float = 0.0
    memory: int = 0
    one_pass: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--device", default="0", help="the number of a GPU, several separated by commas, or cpu")
    parser.add_argument("--layout", choices=["shard", "replica"], default="shard")
    parser.add_argument("--engine", choices=["faiss", "torch"], default="faiss")
    parser.add_argument("--http-items", type=int, default=100_000, help="0: leave HTTP out")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where vectors are written (a temporary folder)")
    parser.add_argument("--bare", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare(Stored(Path(options.bare), options.items, options.dim), options)
        return
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        stored, queries = write_vectors(Path(name) / "vectors.f16", options.items, options.dim)
        say(f"{options.items:,} x {options.dim} vectors written")
        alone = in_bare_process(stored, options)
        print(table(in_process(stored, queries, options), alone, options))
        if options.http_items and options.engine == "faiss":
            from gpu_http import over_http

            over_http(Path(name) / "data", options, say, lambda search: repeated(search, options))


def say(text: str) -> None:
    """One line of progress, with the seconds since the start: a run that is cut off says how far it came."""
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", flush=True)


_BEGAN = time.monotonic()


# In a process of its own, and bare


def in_process(stored: Stored, queries: Vectors, options: argparse.Namespace) -> Measured:
    """Askew's process of the GPU: load, prove, search."""
    from askew_server.index.gpu.process import GpuProcess

    before = memory_used(options)
    process = GpuProcess(stored, stored.covered()[1], gpu_options(options))
    try:
        description = process.wait_until_ready()
        say(f"the process is ready: {description}")
        began = time.perf_counter()
        process.load()
        seconds = time.perf_counter() - began
        say(f"loaded, and prepared the proof, in {seconds:.1f} s")
        truth = true_nearest(stored, queries[:64])
        _, rows = process.search(queries[:64], LIMIT)
        recall = float(np.mean([np.isin(true, row).mean() for true, row in zip(truth, rows, strict=True)]))
        memory = memory_used(options) - before
        times = {size: repeated(partial(process.search, queries[:size], LIMIT), options) for size in BATCHES}
        return Measured(times, seconds, description, recall, memory)
    finally:
        process.close()


def in_bare_process(stored: Stored, options: argparse.Namespace) -> Measured | None:
    """What `bare` measures, in an interpreter that does nothing else."""
    command = [
        sys.executable,
        __file__,
        "--bare",
        str(stored.path),
        "--items",
        str(stored.items),
        "--dim",
        str(stored.dim),
    ]
    command += ["--device", options.device, "--engine", options.engine, "--repeats", str(options.repeats)]
    environment = os.environ if options.device == "cpu" else {**os.environ, "CUDA_VISIBLE_DEVICES": options.device}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if said.returncode:
        say(f"the bare engine ended with exit code {said.returncode}: {said.stderr.strip().splitlines()[-1:]}")
        return None
    say("the bare engine is measured")
    times, load, one_pass = json.loads(said.stdout.splitlines()[-1])
    return Measured({int(size): (median, p99) for size, (median, p99) in times.items()}, load, one_pass=one_pass)


def bare(stored: Stored, options: argparse.Namespace) -> None:
    """Print what the engine takes without anything around it, as JSON."""
    engine = importlib.import_module(gpu_options(options).engine_module)
    queries: Vectors = np.load(stored.path.with_suffix(".npy"))
    part = engine.open_device(0).open_part(stored.dim)
    began = time.perf_counter()
    for _, vectors in stored.batches(stored.covered()[1]):
        part.add(vectors)
    part.search(queries[:1], LIMIT)
    load = time.perf_counter() - began
    times = {size: repeated(partial(part.search, queries[:size], LIMIT), options) for size in BATCHES}
    one_pass = None
    try:
        from gpu_torch import seconds_of_one_pass

        one_pass = seconds_of_one_pass(2 * stored.items * stored.dim // 1_000_000)
    except ImportError:
        pass
    print(json.dumps([times, load, one_pass]))


def repeated(search: Callable[[], object], options: argparse.Namespace) -> tuple[float, float]:
    """The median and the 99th percentile of a search, in seconds."""
    times = []
    for number in range(options.repeats + 3):
        began = time.perf_counter()
        search()
        if number >= 3:
            times.append(time.perf_counter() - began)
    return float(np.median(times)), float(np.percentile(times, 99))


def memory_used(options: argparse.Namespace) -> int:
    """Bytes in use on the cards; 0 where `nvidia-smi` lists none."""
    wanted = options.device.split(",")
    return sum(card.bytes_total - card.bytes_free for card in read_cards() if card.index in wanted)


def gpu_options(options: argparse.Namespace) -> GpuOptions:
    """The options of the server for this device and engine."""
    made = GpuOptions(devices=tuple(options.device.split(",")), layout=options.layout, answer_seconds=60)
    return replace(made, engine="gpu_torch") if options.engine == "torch" else made


def table(askew: Measured, alone: Measured | None, options: argparse.Namespace) -> str:
    """The table, and the goal for one query."""
    lines = [f"\n{options.items:,} × {options.dim} float16 on device {options.device}: {askew.engine}\n"]
    lines.append(
        "| queries | process, median | p99 | bare, median | queries/s | process / bare |\n|---|---|---|---|---|---|"
    )
    for size, (median, p99) in askew.times.items():
        bare_median = float("nan") if alone is None else alone.times[size][0]
        lines.append(
            f"| {size} | {1e3 * median:.2f} ms | {1e3 * p99:.2f} ms | {1e3 * bare_median:.2f} ms | {size / median:,.0f} "
            f"| {median / bare_median:.2f} |"
        )
    lines.append(
        f"\nrecall@10 {askew.recall:.4f}; loading (reading the file, adding, preparing the proof) {askew.load:.1f} s, bare "
        f"{float('nan') if alone is None else alone.load:.1f} s; memory of the card {askew.memory / 1e9:.2f} GB"
    )
    if alone is not None and alone.one_pass is not None:
        goal = 1.3 * alone.one_pass + 1e-3
        rate = 2e-9 * options.items * options.dim / alone.one_pass
        verdict = "reached" if askew.times[1][0] <= goal else "missed"
        lines.append(
            f"one pass over the vectors {1e3 * alone.one_pass:.2f} ms ({rate:.0f} GB/s); goal for one query: 1.3 passes + 1 ms "
            f"= {1e3 * goal:.2f} ms, {verdict}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
