"""Askew over HTTP, compared with vector stores that install from PyPI: the same vectors, one machine, the same recall.

    python benchmarks/peers.py --peers-python .venv-peers/bin/python [--items 100000] [--dim 2048] [--only NAME ...]
                               [--vectors FOLDER] [--build-minutes 20] [--first NAME=POSITION ...]

Each store is filled with the same unit vectors. Its configurations are tried, heavier ones last, until one reaches a
recall@10 of 0.99 at some search effort; the smallest such effort is measured, one query after another. A configuration
that is not filled and built within --build-minutes is given up, and lighter ones are tried if none was built. A store that
never reaches 0.99 shows the best recall that it had. Recall is that of 500 queries.

Memory is the private and shared memory of a store's processes at the end, without mapped files, which the system may drop.
Askew answers over HTTP, with payloads; hnswlib and usearch are bare libraries, called in the benchmark's process, on one
thread and without payloads. Indexes are built on all cores where the store can.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from chosen_vectors import HELP, SYNTHETIC, choose_vectors
from clustered import exact_neighbours
from load import load, post_requests
from measured_gallery import MeasuredGallery
from peer import CONFIRMED, RESULT, SEARCH_SECONDS, WANTED, own_bytes, recall_of
from stores.registry import STORES
from stores.store import CORES

from askew_client.contract.wire import pack

QUERIES = 1_000
MEASURING_SECONDS = SEARCH_SECONDS + 240
"""For the last effort, the measured searches and the end."""
HEAD = (
    "| | configuration | effort | recall@10 | searches/s | median | p99 | insert | build | memory |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--vectors", default=SYNTHETIC, metavar=f"{SYNTHETIC}|FOLDER|FILE", help=HELP)
    parser.add_argument("--only", nargs="*", default=["askew", *STORES], choices=["askew", *STORES], metavar="NAME")
    parser.add_argument("--build-minutes", type=float, default=20, help="for filling and building one configuration")
    parser.add_argument(
        "--first",
        nargs="*",
        default=[],
        type=_first,
        metavar="NAME=POSITION",
        help="the configuration to begin with, from 0: "
        + "; ".join(
            f"{name}: {', '.join(f'{n} {each.name}' for n, each in enumerate(kind.configurations))} (default {kind.first})"
            for name, kind in STORES.items()
        ),
    )
    options = parser.parse_args()
    if not os.access(options.peers_python, os.X_OK):
        parser.error(
            f"expected the interpreter of an environment with the peers, got {options.peers_python}: make .venv-peers/.installed"
        )
    # Ended by SIGTERM, it still stops the stores that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    first = dict(options.first)
    chosen = choose_vectors(options.vectors, options.items, QUERIES, options.dim)
    stored, queries = chosen.stored, chosen.queries
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "stored.npy", stored)
        np.save(folder / "queries.npy", queries)
        np.save(folder / "truth.npy", exact_neighbours(stored, queries, 10))
        print(
            f"{len(stored)} x {stored.shape[1]}, {chosen.kind}, {len(queries)} queries, recall@10, {CORES} cores, "
            f"one client, {options.build_minutes:g} minutes for filling and building a configuration\n{HEAD}",
            flush=True,
        )
        del chosen, stored, queries
        for each in options.only:
            if each == "askew":
                print(line_of(askew(folder)), flush=True)
            else:
                begin = first.get(each, STORES[each].first)
                print(peer_row(options.peers_python, each, begin, folder, options.build_minutes), flush=True)


def peer_row(python: Path, name: str, first: int, vectors: Path, minutes: float) -> str:
    """Try the configurations of a store until one reaches the recall; its row of the table."""
    built: list[Result] = []
    given_up: list[Result] = []
    waiting = list(range(first, len(STORES[name].configurations)))
    while waiting:
        position = waiting.pop(0)
        result = run_peer(python, name, position, vectors, minutes)
        if "failed" in result:
            return f"| {result['name']} | {result['configuration']}: {result['failed']} |"
        if "done" not in result:
            given_up.append(result)
            # Heavier ones take longer still. A lighter one shows at least some recall.
            waiting = [] if built or position > first else list(range(position - 1, -1, -1))
            continue
        built.append(result)
        print(f"  {result['name']}, {result['configuration']}: {result['tried']}", flush=True)
        if result["recall"] >= WANTED or position < first:
            break
    slow = "; ".join(f"{each['configuration']}: not built" for each in given_up)
    if not built:
        return f"| {given_up[0]['name']} | not built within {minutes:g} minutes: {slow} |"
    best = max(built, key=lambda result: float(result["recall"]))
    if best["recall"] >= WANTED:
        return line_of(best)
    return line_of(best, f" (0.99 not reached within {minutes:g} minutes{'; ' + slow if slow else ''})")


def run_peer(python: Path, name: str, position: int, vectors: Path, minutes: float) -> Result:
    """Measure one configuration in a process of its own, which is ended when its time is over."""
    kind = STORES[name]
    result: Result = {"name": kind.label, "configuration": kind.configurations[position].name}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own_name:
        own = Path(own_name)
        settings = {
            "TOKENIZERS_PARALLELISM": "false",
            "ANONYMIZED_TELEMETRY": "False",
            "OMP_NUM_THREADS": str(CORES),
            "PYTHONPATH": "",
        }
        command = [str(python), str(Path(__file__).with_name("peer.py")), name, str(position), str(vectors), str(own)]
        with (own / "errors.txt").open("w") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **settings}
            )
            try:
                in_time = _wait(process, own, minutes)
            finally:
                _end(process, own)
        if (own / RESULT).exists():
            result |= json.loads((own / RESULT).read_text())
        if not in_time and "build_seconds" in result:
            result["failed"] = f"built in {result['build_seconds']:.0f} s, but the searches took too long"
        elif in_time and "done" not in result:
            lines = (own / "errors.txt").read_text(errors="replace").strip().splitlines()
            result["failed"] = lines[-1][-300:] if lines else "ended without a result"
    return result


def _wait(process: subprocess.Popen[bytes], own: Path, minutes: float) -> bool:
    """Wait for the process's end; False if it has not built within `minutes`, or then measures for too long."""
    began = time.monotonic()
    built = 0.0
    while process.poll() is None:
        now = time.monotonic()
        if not built and (own / RESULT).exists() and "build_seconds" in json.loads((own / RESULT).read_text()):
            built = now
        if now > (built + MEASURING_SECONDS if built else began + 60 * minutes):
            return False
        time.sleep(0.5)
    return True


def _end(process: subprocess.Popen[bytes], own: Path) -> None:
    """End the process and what it started. PostgreSQL is no child of it, and writes its process id into a file."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    _end_postgres(own / "postgres" / "postmaster.pid")
    # What PostgreSQL's tools had started is its to end.
    remaining = [each for each in children if each.is_running() and each.name() not in ("postgres", "pg_ctl", "initdb")]
    for each in remaining:
        each.kill()
    psutil.wait_procs(remaining, timeout=30)


def _end_postgres(id_file: Path) -> None:
    """Shut PostgreSQL down and wait. Killed, it would leave its shared memory, gigabytes while it builds, to the machine."""
    try:
        server = psutil.Process(int(id_file.read_text().split()[0]))
        if server.name() != "postgres" or server.status() == psutil.STATUS_ZOMBIE:
            return
        server.send_signal(signal.SIGQUIT)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return
    _, alive = psutil.wait_procs([server], timeout=60)
    if alive and server.status() != psutil.STATUS_ZOMBIE:
        raise SystemExit(f"PostgreSQL, process {server.pid}, did not stop within 60 s. Stop it before you go on.")


def askew(folder: Path) -> Result:
    """Measure Askew over HTTP: a real server, raw bodies, payloads."""
    stored, queries = np.load(folder / "stored.npy"), np.load(folder / "queries.npy")
    truth = np.load(folder / "truth.npy")
    with MeasuredGallery(folder / "askew", stored) as gallery:
        found = [gallery.search(query) for query in queries[:CONFIRMED]]
        requests = post_requests(gallery.url, "/search?limit=10", gallery.headers, [pack(query) for query in queries])
        load(gallery.url, requests, 1, 2)
        measured = load(gallery.url, requests, 1, 10)
        server = psutil.Process(gallery.process_id)
        return {
            "name": "**Askew**, over HTTP",
            "configuration": gallery.index()["kind"],
            "insert_seconds": gallery.insert_seconds,
            "build_seconds": gallery.build_seconds,
            "effort": "calibrated",
            "recall": recall_of(found, truth),
            "rate": measured.rate,
            "median": float(np.median(measured.milliseconds)),
            "p99": float(np.percentile(measured.milliseconds, 99)),
            "anonymous_mb": sum(own_bytes(each.pid) for each in (server, *server.children(recursive=True))) / 1e6,
        }


def line_of(result: Result, note: str = "") -> str:
    """A row of the table."""
    threads = result.get("threads")
    on = f", built on {threads} thread{'s' if threads > 1 else ''}" if threads else ""
    return (
        f"| {result['name']} | {result['configuration']}{on} | {result['effort']} | {result['recall']:.4f}{note} | "
        f"{result['rate']:.0f} | {result['median']:.2f} ms | {result['p99']:.2f} ms | {result['insert_seconds']:.0f} s | "
        f"{result['build_seconds']:.0f} s | {result['anonymous_mb']:.0f} MB |"
    )


def _first(text: str) -> tuple[str, int]:
    name, _, position = text.partition("=")
    choices: Sequence[object] = STORES[name].configurations if name in STORES else ()
    if not position.isdecimal() or int(position) >= len(choices):
        raise argparse.ArgumentTypeError(f"expected NAME=POSITION, such as chroma=0, of the list below, got {text!r}")
    return name, int(position)


if __name__ == "__main__":
    main()
