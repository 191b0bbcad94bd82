"""The tail of searches over many shards: the times of one shard are measured, and searches over many are simulated from them.

    python benchmarks/tail.py [--items 100000] [--dim 2048] [--searches 2000] [--save FILE] [--times FILE] [--seed 0]

One two-stage index is searched, one query at a time, as one shard would be. `--save` writes its times in seconds, one a
line; `--times` reads such a file (of your own servers, for instance) instead of measuring. What a network, a queue and the
merging of hits add is not in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from index import LIMIT, build, write_vectors
from numpy.typing import NDArray

from askew_server.index.on_disk import open_main
from askew_server.index.segmented import SegmentedIndex
from askew_server.planning.tail import simulate_tail

SHARDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000, help="of one shard")
    parser.add_argument("--dim", type=int, default=2_048)
    parser.add_argument("--searches", type=int, default=2_000, help="how many are measured")
    parser.add_argument("--folder", type=Path, help="where vectors and index are written (a temporary folder)")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--times", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seconds = measure(options) if options.times is None else np.loadtxt(options.times, ndmin=1)
    if options.save is not None:
        np.savetxt(options.save, seconds)
    print(
        "one shard, measured: "
        + ", ".join(f"{name} {1000 * np.quantile(seconds, at):.2f} ms" for name, at in QUANTILES)
    )
    print(
        f"{'shards':>8}{'median':>12}{'p99':>12}{'p99.9':>12}{'p99, hedged':>14}   (milliseconds, simulated, seed {options.seed})"
    )
    for shards in SHARDS:
        plain = simulate_tail(seconds, shards, seed=options.seed)
        hedged = simulate_tail(seconds, shards, seed=options.seed, hedged=True)
        row = [1000 * each for each in (plain.median, plain.p99, plain.p999, hedged.p99)]
        print(f"{shards:8}{row[0]:12.2f}{row[1]:12.2f}{row[2]:12.2f}{row[3]:14.2f}")


QUANTILES = (("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999))


def measure(options: argparse.Namespace) -> NDArray[np.float64]:
    """The seconds of searches in one index, float64 [searches], after a round that pages it in."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        stored, queries = write_vectors(Path(name) / "vectors.f16", options.items, options.dim)
        build(stored, Path(name) / "index", "two-stage")
        opened = open_main(Path(name) / "index", options.dim)
        assert opened.main is not None
        opened.main.page_in()
        index = SegmentedIndex(options.dim, opened.main)
        fetched = index.to_fetch(LIMIT, exact=False)
        seconds = []
        for number in range(len(queries) + options.searches):
            query = queries[number % len(queries)][None]
            began = time.perf_counter()
            index.search(query, fetched)
            seconds.append(time.perf_counter() - began)
    return np.array(seconds[len(queries) :])


if __name__ == "__main__":
    main()
