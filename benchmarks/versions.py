"""Two versions of the server on one gallery: the processor time and the latency of a search, in turns.

    python benchmarks/versions.py OLD/.venv/bin/askew NEW/.venv/bin/askew --items 30000 --dim 1024

The older version fills the gallery and builds its index, and the newer one gets a copy: two builds differ in how many
items their main index holds, which changes the time of a search more than most changes of the code.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import httpx
import numpy as np
from clustered import clustered
from measured_gallery import SPACE, manifest, upsert
from numpy.typing import NDArray

from askew_client import Client
from askew_client.contract.wire import pack

QUERIES = 200


class Version:
    """A running server of one version."""

    def __init__(self, command: Path, data: Path) -> None:
        self.name = str(command)
        self._process = subprocess.Popen(
            [command, "serve", "--data", data, "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ASKEW_LOG_LEVEL": "error", "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        found = re.search(r'http://[^\s"]+', self._process.stdout.readline())
        assert found is not None, "the server did not start"
        headers = {"Content-Type": "application/octet-stream", "Askew-Space": SPACE, "Askew-Dtype": "f16le"}
        self._http = httpx.Client(base_url=found[0], headers=headers, timeout=600)
        while self._http.get("/readyz").status_code != 200:
            time.sleep(0.05)
        self.processor: list[float] = []
        self.latency: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def fill(self, vectors: NDArray[np.float32]) -> None:
        """Make the default gallery."""
        with Client(str(self._http.base_url)) as client:
            client.create_gallery("default", manifest(vectors.shape[1]))
            for start in range(0, len(vectors), 1_000):
                upsert(client, vectors, start)

    def wait_for_index(self) -> str:
        """Wait until no build is running or due; returns what the index is."""
        while True:
            index = self._http.get("/v1/galleries/default/index").raise_for_status().json()
            if index["kind"] == index["chosen"] and not index["building"]:
                return f"{index['kind']}, main {index['main']}, tail {index['tail']}"
            time.sleep(0.3)

    def search(self, bodies: list[bytes], limit: int) -> None:
        """Ask all of these, and record milliseconds of processor time for each, and the median latency."""
        before, times = self._processor_seconds(), []
        for body in bodies:
            began = time.perf_counter()
            self._http.post(f"/search?limit={limit}", content=body).raise_for_status()
            times.append(1000 * (time.perf_counter() - began))
        self.processor.append(1000 * (self._processor_seconds() - before) / len(bodies))
        self.latency.append(statistics.median(times))

    def _processor_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--turns", type=int, default=31)
    parser.add_argument("--searches", type=int, default=120, help="in each turn")
    options = parser.parse_args()
    vectors = clustered(options.items + QUERIES, options.dim)
    bodies = [pack(query) for query in vectors[options.items :]]
    with tempfile.TemporaryDirectory() as name:
        old_data, new_data = Path(name) / "old", Path(name) / "new"
        with Version(options.old, old_data) as old:
            old.fill(vectors[: options.items])
            old.wait_for_index()
        shutil.copytree(old_data, new_data)
        with Version(options.old, old_data) as old, Version(options.new, new_data) as new:
            print(
                f"{options.items} x {options.dim}, limit {options.limit}: {old.wait_for_index()}; {new.wait_for_index()}"
            )
            for turn in range(options.turns):
                for version in (old, new) if turn % 2 else (new, old):
                    version.search([bodies[n % QUERIES] for n in range(options.searches)], options.limit)
            report(old, new)


def report(old: Version, new: Version) -> None:
    """Print the medians over the turns, and of the ratios within each turn."""
    for version in (old, new):
        processor, latency = statistics.median(version.processor), statistics.median(version.latency)
        print(f"{version.name}: {processor:.2f} ms of processor time, {latency:.2f} ms latency")
    ratios = [
        statistics.median(after / before for before, after in zip(*pair, strict=True))
        for pair in ((old.processor, new.processor), (old.latency, new.latency))
    ]
    print(f"new / old: processor time {ratios[0]:.3f}, latency {ratios[1]:.3f}")


if __name__ == "__main__":
    main()
