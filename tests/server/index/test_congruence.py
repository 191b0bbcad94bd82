"""The index port over each of its implementations. A further one is one more line in BACKENDS."""

from __future__ import annotations

import pytest

from askew_server.gallery.index_manager import open_index
from askew_server.index.types import CodedKind
from tests.server.index.congruence import Backend, IndexCongruence
from tests.support.held_index import HeldIndex

pytestmark = pytest.mark.slow

CODED: list[CodedKind] = ["two-stage", "ivf-two-stage"]
BACKENDS = [
    Backend("HeldIndex", HeldIndex, impossible="two-stage"),
    Backend("FAISS, exact", open_index, impossible="gpu-exact"),
    *(
        Backend(f"FAISS, {kind}", open_index, kind, recall=0.985, disorder=0.1, impossible="gpu-exact", reports=True)
        for kind in CODED
    ),
]


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.param
    return backend


class TestIndexPort(IndexCongruence):
    pass
