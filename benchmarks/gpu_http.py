"""The part of benchmarks/gpu.py that asks a real server: one client, single requests and batches."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from gpu_vectors import Vectors, write_vectors
from measured_gallery import SPACE, MeasuredGallery

from askew_client.contract.wire import pack, pack_base64

BATCHED = (64, 256)

Repeated = Callable[[Callable[[], object]], tuple[float, float]]
"""repeated(search): the median and the 99th percentile of its seconds."""


def over_http(data: Path, options: argparse.Namespace, say: Callable[[str], None], repeated: Repeated) -> None:
    """A real server with a gallery on the GPU, and with one that is almost empty."""
    stored, queries = _vectors(options.http_items, options.dim)
    os.environ |= {"ASKEW_GPU_DEVICES": options.device, "ASKEW_GPU_LAYOUT": options.layout}
    os.environ |= {"ASKEW_GPU_ANSWER_SECONDS": "10", "ASKEW_MAX_BODY_BYTES": "64000000"}

    def one(http: httpx.Client) -> Callable[[], object]:
        bodies = [pack(query) for query in queries]
        count = iter(range(10**9))
        return lambda: http.post(
            "/search?limit=10", content=bodies[next(count) % len(bodies)], headers=MeasuredGallery.headers
        ).raise_for_status()

    def many(http: httpx.Client, size: int) -> Callable[[], object]:
        asked = [{"vector": pack_base64(query), "dtype": "f16le", "space": SPACE} for query in queries[:size]]
        content = json.dumps({"queries": asked, "limit": 10}).encode()
        sent = {"Content-Type": "application/json"}
        return lambda: http.post("/search/batch", content=content, headers=sent).raise_for_status()

    with MeasuredGallery(data / "full", stored) as gallery:
        say(
            f"the server has {options.http_items:,} items; its two-stage index was built in {gallery.build_seconds:.0f} s"
        )
        gallery.http.put("/v1/galleries/default/index", json={"kind": "gpu-exact"}).raise_for_status()
        while (state := gpu_state(gallery))["state"] != "ready":
            if state["state"] == "unavailable":
                say(f"the server does not use the GPU: {state['reason']}")
                return
            time.sleep(0.2)
        index = gallery.http.post("/search?limit=10", content=pack(queries[0]), headers=gallery.headers).json()["index"]
        full = {1: repeated(one(gallery.http))}
        full |= {size: repeated(many(gallery.http, size)) for size in BATCHED}
    with MeasuredGallery(data / "empty", stored[:1]) as gallery:
        empty = {1: repeated(one(gallery.http))}
        empty |= {size: repeated(many(gallery.http, size)) for size in BATCHED}
    print(
        f"\nOver HTTP, {options.http_items:,} × {options.dim}, answered by {index}, one client, ten hits with payloads\n"
    )
    print("| queries | median | p99 | queries/s | the same server with one item |\n|---|---|---|---|---|")
    for size, (median, p99) in full.items():
        print(
            f"| {size} | {1e3 * median:.2f} ms | {1e3 * p99:.2f} ms | {size / median:,.0f} | {1e3 * empty[size][0]:.2f} ms |"
        )


def gpu_state(gallery: MeasuredGallery) -> dict[str, str]:
    """What the GPU does for the gallery."""
    state: dict[str, str] = gallery.http.get("/v1/galleries/default/index").json().get("gpu") or {"state": "starting"}
    return state


def _vectors(items: int, dim: int) -> tuple[Vectors, Vectors]:
    with tempfile.TemporaryDirectory() as name:
        stored, queries = write_vectors(Path(name) / "vectors.f16", items, dim)
        return np.concatenate([vectors for _, vectors in stored.batches(stored.covered()[1])]), queries
