"""Searches: how long one takes, how many a machine answers, and how many machines that makes."""

from __future__ import annotations

import math
from typing import Protocol

from askew_client.contract.indexes import IndexKind
from askew_server.index.planning import scans_for
from askew_server.planning.figures import Constant, Constants, Figure, Gpu


class Load(Protocol):
    """Searches a second, and the machines that answer them."""

    @property
    def qps(self) -> float: ...
    @property
    def dim(self) -> int: ...
    @property
    def cores(self) -> int: ...


def serving_figures(
    load: Load, shards: int, items: int, kind: IndexKind, gpu: Gpu | None, constants: Constants
) -> list[Figure]:
    """Latency, throughput, machines and recall for a gallery whose shards have `items` each."""
    if gpu is None:
        figures, searches = _on_cpu(load, items, kind, constants)
    else:
        figures, searches = _on_gpu(load, items, gpu, constants)
    share = constants["utilisation"]
    replicas = max(1, math.ceil(load.qps / (share.value * searches)))
    is_exact = kind == "exact"
    recall = constants["recall_on_gpu"] if gpu is not None else constants["recall_of_codes"]
    return [
        *figures,
        Figure("replicas", replicas, "", "qps / (utilisation × searches of one machine), rounded up", (share,)),
        Figure("machines", shards * replicas, "", "shards × replicas; one more of each survives the loss of one"),
        Figure("recall@10", 1.0, "", "every vector is compared")
        if is_exact and gpu is None
        else Figure("recall@10", recall.value, "", f"at least {recall.name}", (recall,)),
    ]


def _on_cpu(load: Load, items: int, kind: IndexKind, constants: Constants) -> tuple[list[Figure], float]:
    alone, together = _scan_constants(kind, constants)
    read, what = _bytes_read(items, load.dim, kind)
    slices = constants["most_slices"]
    threads = 1 if kind == "exact" else max(1, min(load.cores, int(slices.value)))
    request, processor, tail = (
        constants[name] for name in ("request_seconds", "request_processor_seconds", "p99_by_median")
    )
    median = request.value + alone.value * read / threads
    # One process answers: its Python is on one core at a time, the scan is on all of them.
    searches = 1 / (processor.value + together.value * read / load.cores)
    return [
        Figure(
            "median latency",
            median,
            "s",
            f"request_seconds + {alone.name} × {what} / {threads} threads, without a queue",
            (request, alone, slices),
        ),
        Figure("p99 latency", tail.value * median, "s", "p99_by_median × median latency", (tail, request, alone)),
        Figure(
            "searches of one machine",
            searches,
            "1/s",
            f"1 / (request_processor_seconds + {together.name} × {what} / cores), in one process",
            (processor, together),
        ),
    ], searches


def _on_gpu(load: Load, items: int, gpu: Gpu, constants: Constants) -> tuple[list[Figure], float]:
    vectors = 2.0 * load.dim * items
    usable, passes, fixed, request, processor = (
        constants[name]
        for name in (
            "gpu_usable_memory",
            "gpu_passes",
            "gpu_request_seconds",
            "request_seconds",
            "request_processor_seconds",
        )
    )
    cards = math.ceil(vectors / (usable.value * gpu.memory.value))
    one = fixed.value + passes.value * vectors / cards / gpu.bandwidth.value
    searches = min(1 / processor.value, 1 / one)
    return [
        Figure("memory on the GPU", vectors, "B", "2 bytes × components × items"),
        Figure(
            "GPUs of one machine",
            cards,
            "",
            "memory on the GPU / (gpu_usable_memory × its memory), rounded up",
            (usable, gpu.memory),
        ),
        Figure(
            "median latency",
            request.value + one,
            "s",
            "request_seconds + gpu_request_seconds + gpu_passes × memory on the GPU / GPUs / bandwidth",
            (request, fixed, passes, gpu.bandwidth),
        ),
        Figure(
            "searches of one machine",
            searches,
            "1/s",
            "the smaller of 1 / request_processor_seconds and one query for each pass; batches answer more",
            (processor, fixed, passes, gpu.bandwidth),
        ),
    ], searches


def _scan_constants(kind: IndexKind, constants: Constants) -> tuple[Constant, Constant]:
    if kind == "exact":
        return constants["exact_seconds_per_byte"], constants["exact_seconds_per_byte"]
    return constants["scan_seconds_per_byte"], constants["scan_seconds_per_byte_in_batches"]


def _bytes_read(items: int, dim: int, kind: IndexKind) -> tuple[float, str]:
    """The bytes that one search reads, and how they are counted."""
    if kind == "exact":
        return 4.0 * dim * items, "4 bytes × components × items"
    # Which of the two scans a small gallery gets is measured by its build; the larger one is counted.
    parts = scans_for(kind, items, dim)[-1]
    return parts / 2 * items, f"{parts // 2} bytes of codes × items"
