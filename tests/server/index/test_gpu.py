"""Search on the GPU, as far as it can be tried without one: the gates, and the comparison with the processor."""

from __future__ import annotations

from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from askew_server.index.gpu import GpuEngine, load_on_gpu
from askew_server.index.segmented import SegmentedIndex
from tests.support.gallery_vectors import Given, Vectors, clustered, recall

DIM = 64
VECTORS = clustered(2_000, DIM)


def fake_gpu(make_index: object) -> SimpleNamespace:
    """A FAISS with one GPU, whose flat index is what `make_index` makes."""
    return SimpleNamespace(
        get_num_gpus=lambda: 1,
        StandardGpuResources=lambda: object(),
        GpuIndexFlatConfig=SimpleNamespace,
        GpuIndexFlatIP=make_index,
    )


def test_without_a_gpu_there_is_a_reason() -> None:
    main, reason = load_on_gpu(faiss, Given(VECTORS))
    assert main is None
    assert reason is not None
    assert "no GPU" in reason


def test_vectors_on_the_gpu_are_searched_exactly_and_new_ones_with_them() -> None:
    configs = []

    def make(resources: object, dim: int, config: SimpleNamespace) -> object:
        configs.append(config)
        return faiss.IndexFlatIP(dim)

    main, reason = load_on_gpu(fake_gpu(make), Given(VECTORS[:1_900]))
    assert reason is None
    assert main is not None
    assert configs[0].useFloat16
    index = SegmentedIndex(DIM, main, "gpu-exact")
    assert (index.name, index.exact, index.wants_rebuild()) == ("gpu-exact", True, None)
    index.add(np.arange(1_901, 2_001), VECTORS[1_900:])
    index.remove(np.array([3, 4, 1_950]))
    truth = {label: VECTORS[label - 1] for label in range(1, 2_001) if label not in {3, 4, 1_950}}
    queries = VECTORS[:2_000:20]
    assert recall(index.search(queries, 10, None, False), truth, queries) == 1.0
    for allowed in (np.arange(1, 2_001, 2), np.arange(1_700, 1_720)):
        admitted = {int(label): truth[int(label)] for label in allowed if int(label) in truth}
        assert recall(index.search(queries, 10, allowed, False), admitted, queries) == 1.0


def test_a_gpu_that_answers_otherwise_is_not_believed() -> None:
    class Wrong(faiss.IndexFlatIP):
        def add(self, vectors: Vectors) -> None:
            super().add(np.ascontiguousarray(np.roll(vectors, 1, axis=0)))

    main, reason = load_on_gpu(fake_gpu(lambda resources, dim, config: Wrong(dim)), Given(VECTORS))
    assert main is None
    assert reason is not None
    assert "stays on the CPU" in reason


def test_a_gpu_without_enough_memory_is_a_reason() -> None:
    def full(*_: object) -> object:
        raise RuntimeError("CUDA error 2 out of memory")

    assert "out of memory" in (load_on_gpu(fake_gpu(full), Given(VECTORS)).reason or "")
    empty = load_on_gpu(fake_gpu(lambda resources, dim, config: faiss.IndexFlatIP(dim)), Given(VECTORS[:0]))
    assert "no vectors" in (empty.reason or "")


@pytest.mark.parametrize("mask", [None, np.arange(2_000) % 7 == 0])
def test_rows_fetched_back_from_the_gpu_are_scored_exactly(mask: np.ndarray | None) -> None:
    engine = GpuEngine(faiss.IndexFlatIP(DIM), None)
    engine.append(VECTORS)
    _, rows = engine.flat(VECTORS[:5], 3, mask)
    scores = VECTORS[:5] @ VECTORS.T
    scores[:, slice(0) if mask is None else ~mask] = -2
    np.testing.assert_array_equal(rows, np.argsort(-scores, axis=1, kind="stable")[:, :3])
