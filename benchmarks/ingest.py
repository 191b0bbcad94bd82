"""Filling a gallery over HTTP, compared with bare SQLite and FAISS; and searches while it is filled.

    python benchmarks/ingest.py [--items 100000] [--dim 2048]

Bare: the same float16 vectors and payloads are inserted into one SQLite file (WAL, synchronous=FULL, a commit for each
1,000), and the vectors into a FAISS IndexFlatIP. Over HTTP: askew_client.Client sends requests of 1,000 items, one after
another. Searches: one client, which pauses 5 ms after each answer; first with an otherwise idle server, then while a
further 20,000 items are written with the index already built, then with these items outside the main segment.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import faiss
import numpy as np
from clustered import clustered
from load import load, post_requests
from measured_gallery import BATCH, MeasuredGallery
from numpy.typing import NDArray

from askew_client import Client
from askew_client.contract.wire import pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--tail", type=int, default=20_000)
    options = parser.parse_args()
    vectors = clustered(options.items + options.tail + 500, options.dim)
    stored = vectors[: options.items]
    tail = vectors[options.items : options.items + options.tail]
    queries = vectors[-500:]
    with tempfile.TemporaryDirectory() as name:
        in_sqlite, in_faiss = bare(Path(name), stored)
        with MeasuredGallery(Path(name) / "askew", stored) as gallery:
            requests = post_requests(
                gallery.url, "/search?limit=10", gallery.headers, [pack(query) for query in queries]
            )
            load(gallery.url, requests, 1, 2)
            idle = load(gallery.url, requests, 1, 8, pause=0.005)
            filling = threading.Thread(target=fill_tail, args=(gallery.url, tail))
            filling.start()
            busy = load(gallery.url, requests, 1, 4, pause=0.005)
            filling.join()
            with_tail = load(gallery.url, requests, 1, 8, pause=0.005)
            index = gallery.index()
    rate = len(stored) / gallery.insert_seconds
    bare_rate = len(stored) / (in_sqlite + in_faiss)
    print(f"{options.items} x {options.dim}, {os.cpu_count()} cores")
    print(f"SQLite alone           {len(stored) / in_sqlite:8.0f} vectors/s")
    print(f"FAISS alone            {len(stored) / in_faiss:8.0f} vectors/s")
    print(f"SQLite, then FAISS     {bare_rate:8.0f} vectors/s")
    print(f"Askew over HTTP        {rate:8.0f} vectors/s   {rate / bare_rate:.2f} of SQLite, then FAISS")
    print(f"its index was ready    {gallery.build_seconds:.1f} s after the last acknowledgement")
    print(f"searches, server otherwise idle   {idle.line()}")
    print(f"searches during {options.tail} writes     {busy.line()}")
    print(f"searches with these in the tail   {with_tail.line()}   {index}")


def fill_tail(url: str, tail: NDArray[np.float32]) -> None:
    """Insert more items, with new ids."""
    with Client(url) as client:
        for start in range(0, len(tail), BATCH):
            part = tail[start : start + BATCH]
            ids = [f"tail-{start + n}" for n in range(len(part))]
            client.upsert(ids, part, gallery="default", space="sp1-" + "0" * 32)


def bare(folder: Path, stored: NDArray[np.float32]) -> tuple[float, float]:
    """The seconds that SQLite and FAISS take to insert the same vectors."""
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE items (id TEXT PRIMARY KEY, vector BLOB NOT NULL, payload TEXT NOT NULL)")
    began = time.perf_counter()
    for start in range(0, len(stored), BATCH):
        half = stored[start : start + BATCH].astype(np.float16)
        rows = [
            (f"item-{start + n:07d}", row.tobytes(), json.dumps({"title": f"Item {start + n}"}))
            for n, row in enumerate(half)
        ]
        database.execute("BEGIN")
        database.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")
    in_sqlite = time.perf_counter() - began
    database.close()
    began = time.perf_counter()
    exact = faiss.IndexFlatIP(stored.shape[1])
    for start in range(0, len(stored), BATCH):
        exact.add(stored[start : start + BATCH])
    return in_sqlite, time.perf_counter() - began


if __name__ == "__main__":
    main()
