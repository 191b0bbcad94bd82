"""The index port over each of its implementations. A further one is one more line in BACKENDS."""

from __future__ import annotations

import pytest

from askew_server.gallery.index_manager import open_index
from askew_server.index.gpu.options import GpuOptions
from askew_server.index.port import VectorIndex
from askew_server.index.types import CodedKind
from askew_server.storage.items import SqliteItemStore
from tests.server.index.congruence import Backend, IndexCongruence
from tests.support.held_index import HeldIndex
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow


def open_on_gpu(gallery: str, store: SqliteItemStore, dim: int) -> VectorIndex:
    """Open an index, and wait until the process that stands for the GPU answers, if it should."""
    index = open_index(gallery, store, dim, gpu=GpuOptions(devices=("cpu",), answer_seconds=DEADLINE))
    state = index.statistics().gpu
    if state is not None:
        wait_until(lambda: (now := index.statistics().gpu) is not None and now.state == "ready", "the GPU's process")
    return index


CODED: list[CodedKind] = ["two-stage", "ivf-two-stage"]
BACKENDS = [
    Backend("HeldIndex", HeldIndex, impossible="two-stage"),
    Backend("FAISS, exact", open_index, impossible="gpu-exact"),
    *(
        Backend(f"FAISS, {kind}", open_index, kind, recall=0.985, disorder=0.1, impossible="gpu-exact", reports=True)
        for kind in CODED
    ),
    pytest.param(
        Backend("FAISS, gpu-exact on a CPU", open_on_gpu, "gpu-exact", recall=0.985, disorder=0.1, reports=True),
        # Each test starts processes of Python and FAISS, some of them dozens.
        marks=pytest.mark.drill,
    ),
]


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.param
    return backend


class TestIndexPort(IndexCongruence):
    pass
