"""A real server with one gallery of given vectors, filled over HTTP like a user's, with its index built."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np
from numpy.typing import NDArray

from askew_client import Client
from askew_client.contract.manifest import Manifest, golden_text
from askew_client.contract.wire import pack

SPACE = "sp1-" + "0" * 32
BATCH = 1_000


class MeasuredGallery:
    """`with MeasuredGallery(data, stored) as gallery`: the server, and the seconds that filling and building took."""

    headers = {"Content-Type": "application/octet-stream", "Askew-Space": SPACE, "Askew-Dtype": "f16le"}  # noqa: RUF012

    def __init__(self, data: Path, stored: NDArray[np.float32]) -> None:
        self.data = data
        self._stored = stored
        self.insert_seconds = 0.0
        self.build_seconds = 0.0

    def __enter__(self) -> Self:
        self.start()
        try:
            self._fill()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> float:
        """Start the server; returns the seconds until it was ready."""
        began = time.perf_counter()
        command = [str(Path(sys.executable).with_name("askew")), "serve", "--data", str(self.data), "--port", "0"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={"ASKEW_LOG_LEVEL": "warning", **os.environ}
        )
        assert self._process.stdout is not None
        found = re.search(r'http://[^\s"]+', self._process.stdout.readline())
        assert found is not None, "the server did not start"
        self.url = found[0]
        self.http = httpx.Client(base_url=self.url, timeout=600)
        try:
            while self.http.get("/readyz").status_code != 200:
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        return time.perf_counter() - began

    def _fill(self) -> None:
        with Client(self.url) as client:
            client.create_gallery("default", manifest(self._stored.shape[1]))
            began = time.perf_counter()
            for start in range(0, len(self._stored), BATCH):
                upsert(client, self._stored, start)
            self.insert_seconds = time.perf_counter() - began
        began = time.perf_counter()
        self.wait_for_index()
        self.build_seconds = time.perf_counter() - began

    def stop(self) -> None:
        """Shut the server down with SIGTERM and wait for it."""
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(120)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def process_id(self) -> int:
        """The server's process id."""
        return self._process.pid

    def index(self) -> dict[str, object]:
        """The server's description of its index."""
        described: dict[str, object] = self.http.get("/v1/galleries/default/index").raise_for_status().json()
        return described

    def wait_for_index(self) -> None:
        """Wait until no build is running or due."""
        quiet = 0
        while quiet < 3:
            index = self.index()
            done = index["kind"] == index["chosen"] and not index["building"]
            quiet = quiet + 1 if done else 0
            time.sleep(0.2)

    def search(self, query: NDArray[np.float32], options: str = "") -> list[int]:
        """The numbers of the ten nearest items."""
        answer = self.http.post(f"/search?limit=10{options}", content=pack(query), headers=self.headers)
        answer.raise_for_status()
        return [int(hit["id"].rsplit("-", 1)[1]) for hit in json.loads(answer.content)["hits"]]


def upsert(client: Client, stored: NDArray[np.float32], start: int) -> None:
    """Send one request with up to 1,000 items and payloads, from row `start` on."""
    rows = range(start, min(start + BATCH, len(stored)))
    client.upsert(
        [f"item-{n:07d}" for n in rows],
        stored[rows.start : rows.stop],
        [{"title": f"Item {n}", "half": n % 2, "twentieth": n % 20, "thousandth": n % 1000} for n in rows],
        gallery="default",
        space=SPACE,
    )


def manifest(dim: int) -> Manifest:
    """A teacher that exists only as the name of a space."""
    golden = np.zeros(dim, dtype=np.float32)
    golden[0] = 1
    return Manifest(
        name="bench", version="1", role="teacher", space_id=SPACE, dim=dim, photo_size=224, scales=[1.0],
        precision="fp32", trunk="none", recipe="none", data=[], metrics={}, licence="none",
        golden={"small": golden_text(golden)}, tolerance=1e-4,
    )  # fmt: skip
