"""What an item costs on the disk and in memory beside its vector: the constants of `askew plan`.

    python benchmarks/sizes.py [--items 40000] [--dim 64]

Galleries are written into a temporary DATA directory, and a server opens the smallest and the largest of them. Sizes do not
depend on the load of the machine. Memory is what belongs to the server's process alone (anonymous), once its index is ready.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import psutil
from measured_gallery import manifest

from askew_client.contract.common import Payload
from askew_server.gallery.catalog import Catalog
from askew_server.planning.disk import vector_bytes
from askew_server.storage.items import ItemBatch, StoredItem

BATCH = 1_000
ID_BYTES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--dim", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for dim, (payload, photo) in itertools.product(
            (512, 1_280, 2_048), (({}, False), ({"t": "x" * 190}, False), ({}, True))
        ):
            data = Path(folder) / f"{dim}-{len(payload)}-{photo}"
            measure_disk(data, dim, payload, photo=photo)
        few = measure_memory(Path(folder) / "few", BATCH, options.dim)
        many = measure_memory(Path(folder) / "many", options.items, options.dim)
        print(
            f"memory: {few / 1e6:.0f} MB for {BATCH} items; each further one {(many - few) / (options.items - BATCH):.0f} bytes"
        )


def measure_disk(data: Path, dim: int, payload: Payload, *, photo: bool) -> None:
    items = 4 * BATCH
    write(data, items, dim, payload, photo=photo)
    size = (data / "galleries" / "default" / "gallery.db").stat().st_size / items
    text = len(json.dumps(payload, separators=(",", ":")))
    rest = size - vector_bytes(dim) - 2 * ID_BYTES - text
    print(
        f"{dim} components, payload of {text} bytes, {'with' if photo else 'without'} photo: {size:.0f} bytes an item",
        end=", ",
    )
    print(f"{rest:.0f} beside vector, payload and twice the id")


def measure_memory(data: Path, items: int, dim: int) -> int:
    """The anonymous bytes of a server with one gallery; those of its index are left out."""
    write(data, items, dim, {}, photo=False)
    command = [str(Path(sys.executable).with_name("askew")), "serve", "--data", str(data), "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={"ASKEW_LOG_LEVEL": "warning", **os.environ}
    )
    try:
        assert server.stdout is not None
        found = re.search(r'http://[^\s"]+', server.stdout.readline())
        assert found is not None, "the server did not start"
        with httpx.Client(base_url=found[0], timeout=60) as http:
            while True:
                index = http.get("/v1/galleries/default/index")
                if (
                    index.status_code == 200
                    and index.json()["kind"] == index.json()["chosen"]
                    and not index.json()["building"]
                ):
                    break
                time.sleep(0.1)
            for _ in range(20):
                vector = np.ones(dim, dtype=np.float32) / np.sqrt(dim)
                http.post("/search", json={"vector": vector.tolist(), "space": "sp1-" + "0" * 32}).raise_for_status()
            of_index = int(http.get("/v1/galleries/default/index").json()["bytes_memory"])
        memory = psutil.Process(server.pid).memory_info()
        print(
            f"{items} items of {dim} components: {memory.rss - memory.shared} bytes, of which the index has {of_index}"
        )
        return int(memory.rss - memory.shared - of_index)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(120)


def write(data: Path, items: int, dim: int, payload: Payload, *, photo: bool) -> None:
    """Write a gallery `default`."""
    random = np.random.default_rng(0)
    with closing(Catalog(data, owner="a benchmark")) as catalog:
        catalog.load()
        gallery, _ = catalog.get_or_create("default", manifest(dim))
        for start in range(0, items, BATCH):
            vectors = random.standard_normal((BATCH, dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            pictures = [(b"\xff\xd8\xff" + random.bytes(20), ".jpg") if photo else None for _ in range(BATCH)]
            numbered = zip(range(start, start + BATCH), vectors, pictures, strict=True)
            batch = ItemBatch.of(
                [
                    StoredItem(f"photos/{number:0{ID_BYTES - 7}d}", vector, payload, picture)
                    for number, vector, picture in numbered
                ]
            )
            gallery.run(lambda each, batch=batch: each.upsert(batch))  # type: ignore[misc]


if __name__ == "__main__":
    main()
