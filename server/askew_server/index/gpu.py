"""Exact search on the GPU, where there is one: every vector in its memory as float16, the exact index of the CPU beside.

One thread owns FAISS's GPU resources, the one that searches. What the GPU answers is compared with the processor's
answers before it is believed; where anything fails, there is a reason, and the gallery stays on the CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from askew_server.index.calibration import QUERIES, Queries, Truth, held_out
from askew_server.index.faiss_library import gpu_count
from askew_server.index.main_segment import MainFacts, MainSegment
from askew_server.index.masked import Mask
from askew_server.index.port import VectorSource
from askew_server.index.types import MARGIN, Rows, Scores, Vectors

_SAME = 0.999
_BLOCK = 8_192
_SEED = 20_21

# Rough, for the choice between over-fetching and a pass over the admitted rows alone, which come over the bus.
_SECONDS_A_CALL = 2e-4
_BYTES_A_SECOND_THERE = 5e11
_BYTES_A_SECOND_BACK = 4e9


class OnGpu(NamedTuple):
    """A main segment on the GPU, or None and the reason, a sentence, why there is none."""

    main: MainSegment | None
    reason: str | None


class GpuEngine:
    """A flat FAISS index on the GPU. See RowEngine."""

    exact = True
    most = 2_048
    """What FAISS's kernels can find at once."""

    def __init__(self, index: Any, resources: Any) -> None:
        self._index = index
        self._resources = resources

    def append(self, vectors: Vectors) -> None:
        """Take further rows, float32 [n, D]."""
        self._index.add(vectors)

    def nearest(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        scores, rows = self._index.search(queries, count)
        return scores, rows

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        admitted = np.arange(self._index.ntotal) if mask is None else np.flatnonzero(mask)
        scores = np.empty((len(queries), len(admitted)), dtype=np.float32)
        for start in range(0, len(admitted), _BLOCK):
            rows = admitted[start : start + _BLOCK]
            scores[:, start : start + _BLOCK] = queries @ self._index.reconstruct_batch(rows).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores, order, axis=1), admitted[order]

    def nearest_seconds(self, count: int) -> float:
        return _SECONDS_A_CALL + float(self._index.ntotal * self._index.d * 2) / _BYTES_A_SECOND_THERE

    def flat_seconds(self, admitted: int) -> float:
        return _SECONDS_A_CALL + float(admitted * self._index.d * 4) / _BYTES_A_SECOND_BACK


def load_on_gpu(faiss: Any, source: VectorSource) -> OnGpu:
    """Bring every vector of a gallery to the GPU. Call it on the thread that searches.

    Nothing is raised for a GPU that is missing, too small, or computes something else: there is a reason then.
    """
    if not gpu_count(faiss):
        return OnGpu(None, "FAISS finds no GPU here: install askew-server[gpu] where there is one.")
    try:
        return _loaded(faiss, source)
    except RuntimeError as error:
        return OnGpu(None, f"The GPU could not take the vectors: {str(error).splitlines()[0]}")


def _loaded(faiss: Any, source: VectorSource) -> OnGpu:
    sequence, labels = source.covered()
    if not len(labels):
        return OnGpu(None, "There are no vectors to bring to the GPU yet.")
    resources = faiss.StandardGpuResources()
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = True
    engine = GpuEngine(faiss.GpuIndexFlatIP(resources, source.dim, config), resources)
    random = np.random.default_rng(_SEED)
    asked = np.sort(random.choice(labels, min(QUERIES, len(labels)), replace=False))
    own, vectors = (np.concatenate(parts) for parts in zip(*source.batches(asked), strict=True))
    # Leaving each query's own vector out is for calibration; here it is wanted, so none is called own.
    queries = Queries(held_out(own, vectors, vectors, random).vectors, own[:0])
    truth = Truth(queries)
    held = labels[:0]
    for batch, rows in source.batches(labels):
        truth.see(len(held), batch, rows)
        engine.append(rows)
        held = np.concatenate([held, batch])
    reason = differing(engine, queries.vectors, truth.nearest())
    if reason is not None:
        return OnGpu(None, reason)
    facts = MainFacts(
        "gpu-exact", exact=True, sequence=sequence, generation=0, bytes_memory=9 * len(held), bytes_mapped=0
    )
    return OnGpu(MainSegment(engine, held, facts, None), None)


def differing(engine: GpuEngine, queries: Vectors, truth: Rows) -> str | None:
    """Why the GPU's answers are not the processor's: the share of the true ten nearest that it finds is too small."""
    count = min(10, truth.shape[1])
    _, rows = engine.nearest(queries, min(count + MARGIN, truth.shape[1]))
    share = float(np.mean([np.isin(true, row).mean() for true, row in zip(truth[:, :count], rows, strict=True)]))
    if share >= _SAME:
        return None
    return (
        f"The GPU finds {share:.4f} of the vectors that the processor finds nearest, expected {_SAME} or more. "
        "The gallery stays on the CPU."
    )
