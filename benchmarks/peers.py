"""Askew over HTTP, compared with vector stores that install from PyPI: the same vectors, one machine, one run.

    python benchmarks/peers.py --peers-python .venv-peers/bin/python [--items 100000] [--dim 2048] [--only NAME ...]

Each store is filled with the same unit vectors, set to the smallest search effort that reaches a recall@10 of 0.99, and
then answers one query after another. Its memory is the private and shared memory of its processes at the end, without
mapped files, which the system may drop. Askew answers over HTTP, with payloads; hnswlib and usearch are bare libraries,
called in the benchmark's process, on one thread and without payloads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import psutil
from clustered import clustered, exact_neighbours
from load import load, post_requests
from measured_gallery import MeasuredGallery
from peer import own_bytes

from askew_client.contract.wire import pack

PEERS = ("hnswlib", "usearch", "pgvector", "milvus-lite", "chroma", "lancedb", "qdrant-local")
QUERIES = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--only", nargs="*", default=["askew", *PEERS])
    parser.add_argument("--limit-seconds", type=float, default=420)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors = clustered(options.items + QUERIES, options.dim)
        stored, queries = vectors[: options.items], vectors[options.items :]
        np.save(folder / "stored.npy", stored)
        np.save(folder / "queries.npy", queries)
        np.save(folder / "truth.npy", exact_neighbours(stored, queries, 10))
        print(
            f"{options.items} x {options.dim}, {QUERIES} queries, recall@10, {os.cpu_count()} cores, one client",
            flush=True,
        )
        for each in options.only:
            if each == "askew":
                result = askew(folder)
            else:
                command = [options.peers_python, Path(__file__).with_name("peer.py"), each, folder]
                quiet = {"TOKENIZERS_PARALLELISM": "false", "ANONYMIZED_TELEMETRY": "False"}
                done = subprocess.run(
                    [*command, str(options.limit_seconds)],
                    capture_output=True,
                    text=True,
                    check=False,
                    env={**os.environ, **quiet},
                )
                lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
                result = json.loads(lines[-1]) if lines else {"name": each, "failed": done.stderr[-300:]}
            print(line_of(result), flush=True)


def askew(folder: Path) -> dict[str, object]:
    """Measure Askew over HTTP: a real server, raw bodies, payloads."""
    stored, queries = np.load(folder / "stored.npy"), np.load(folder / "queries.npy")
    truth = np.load(folder / "truth.npy")
    with MeasuredGallery(folder / "askew", stored) as gallery:
        found = [gallery.search(query) for query in queries]
        recall = np.mean([len(set(row) & set(true.tolist())) / 10 for row, true in zip(found, truth, strict=True)])
        requests = post_requests(gallery.url, "/search?limit=10", gallery.headers, [pack(query) for query in queries])
        load(gallery.url, requests, 1, 2)
        measured = load(gallery.url, requests, 1, 10)
        server = psutil.Process(gallery.process_id)
        return {
            "name": "askew (HTTP)",
            "insert_seconds": gallery.insert_seconds,
            "build_seconds": gallery.build_seconds,
            "effort": 0,
            "recall": float(recall),
            "rate": measured.rate,
            "median": float(np.median(measured.milliseconds)),
            "p99": float(np.percentile(measured.milliseconds, 99)),
            "anonymous_mb": sum(own_bytes(each.pid) for each in (server, *server.children(recursive=True))) / 1e6,
        }


def line_of(result: dict[str, object]) -> str:
    """A row of the table."""
    if "failed" in result:
        return f"| {result['name']} | {result['failed']} |"
    return (
        f"| {result['name']} | {result['insert_seconds']:.0f} s | {result['build_seconds']:.0f} s | {result['effort']} | "
        f"{result['recall']:.4f} | {result['median']:.2f} ms | {result['p99']:.2f} ms | {result['rate']:.0f} /s | "
        f"{result['anonymous_mb']:.0f} MB |"
    )


if __name__ == "__main__":
    main()
