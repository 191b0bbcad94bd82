"""Search on the GPU, as far as it can be tried without one: a FAISS that claims a GPU, and answers on the processor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest

from askew_server.index.gpu import GpuEngine, load_on_gpu
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import Mask
from tests.support.gallery_vectors import Given, clustered, recall

DIM = 32
COUNT = 1_000
VECTORS = clustered(COUNT, DIM)


@pytest.fixture
def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], object]], list[SimpleNamespace]]:
    """Install a FAISS with one GPU, whose flat index is what `make(dim)` makes; returns the configurations used."""

    def install(make: Callable[[int], object]) -> list[SimpleNamespace]:
        configs: list[SimpleNamespace] = []

        def make_index(resources: object, dim: int, config: SimpleNamespace) -> object:
            configs.append(config)
            return make(dim)

        gpu = {
            "get_num_gpus": lambda: 1,
            "StandardGpuResources": object,
            "GpuIndexFlatConfig": SimpleNamespace,
            "GpuIndexFlatIP": make_index,
        }
        monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace(**{**vars(faiss), **gpu}))
        return configs

    return install


PretendGpu = Callable[[Callable[[int], object]], list[SimpleNamespace]]


def test_without_a_gpu_there_is_a_reason() -> None:
    main, reason = load_on_gpu(Given(VECTORS))
    assert main is None
    assert reason is not None
    assert "no GPU" in reason


def test_vectors_on_the_gpu_are_searched_exactly_and_new_ones_with_them(pretend_gpu: PretendGpu) -> None:
    configs = pretend_gpu(faiss.IndexFlatIP)
    main, reason = load_on_gpu(Given(VECTORS[:900]))
    assert reason is None
    assert main is not None
    assert configs[0].useFloat16
    index = SegmentedIndex(DIM, main, "gpu-exact")
    assert (index.kind, index.exact, index.wants_rebuild()) == ("gpu-exact", True, None)
    index.add(np.arange(901, COUNT + 1), VECTORS[900:])
    index.remove(np.array([3, 4, 950]))
    truth = {label: VECTORS[label - 1] for label in range(1, COUNT + 1) if label not in {3, 4, 950}}
    queries = VECTORS[::20]
    assert recall(index.search(queries, 10, None, False), truth, queries) == 1.0
    for allowed in (np.arange(1, COUNT + 1, 2), np.arange(700, 720)):
        admitted = {int(label): truth[int(label)] for label in allowed if int(label) in truth}
        assert recall(index.search(queries, 10, allowed, False), admitted, queries) == 1.0


def test_a_gpu_that_answers_otherwise_is_not_used(pretend_gpu: PretendGpu) -> None:
    class Wrong(faiss.IndexFlatIP):
        def add(self, x: Any) -> None:
            super().add(np.ascontiguousarray(np.roll(x, 1, axis=0)))

    pretend_gpu(Wrong)
    main, reason = load_on_gpu(Given(VECTORS))
    assert main is None
    assert reason is not None
    assert "stays on the CPU" in reason


def test_a_gpu_without_enough_memory_is_a_reason(pretend_gpu: PretendGpu) -> None:
    def full(dim: int) -> object:
        raise RuntimeError("CUDA error 2 out of memory")

    pretend_gpu(full)
    assert "out of memory" in (load_on_gpu(Given(VECTORS)).reason or "")
    pretend_gpu(faiss.IndexFlatIP)
    assert "no vectors" in (load_on_gpu(Given(VECTORS[:0])).reason or "")


@pytest.mark.parametrize("mask", [None, np.arange(COUNT) % 7 == 0])
def test_rows_fetched_back_from_the_gpu_are_scored_exactly(mask: Mask | None) -> None:
    engine = GpuEngine(faiss.IndexFlatIP(DIM))
    engine.append(VECTORS)
    _, rows = engine.flat(VECTORS[:5], 3, mask)
    scores = VECTORS[:5] @ VECTORS.T
    scores[:, slice(0) if mask is None else ~mask] = -2
    np.testing.assert_array_equal(rows, np.argsort(-scores, axis=1, kind="stable")[:, :3])
