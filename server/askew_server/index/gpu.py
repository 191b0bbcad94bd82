"""Exact search on the GPU, which holds every vector as float16. New vectors stay in the CPU's exact segment.

FAISS's GPU resources belong to one thread, the search thread. The GPU's answers are compared with the CPU's before the
GPU is used. If anything fails, the gallery stays on the CPU and the reason is reported.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from askew_server.index.calibration import QUERIES, Queries, Truth, held_out
from askew_server.index.faiss_library import FlatIndex, gpu_count, new_gpu_index
from askew_server.index.main_segment import MainFacts, MainSegment
from askew_server.index.port import VectorSource
from askew_server.index.types import MARGIN, Mask, Rows, Scores, Vectors

_MIN_AGREEMENT = 0.999
_BLOCK = 8_192
_SEED = 20_21

# Rough figures, to choose between over-fetching and a flat pass, which copies the admitted rows from the GPU.
_SECONDS_A_CALL = 2e-4
_BYTES_A_SECOND_ON_GPU = 5e11
_BYTES_A_SECOND_FROM_GPU = 4e9


NO_GPU = "FAISS finds no GPU here. Install faiss-gpu on a machine with an NVIDIA GPU, or choose exact."


class OnGpu(NamedTuple):
    """A main segment on the GPU, or None and a sentence that says why."""

    main: MainSegment | None
    reason: str | None


class GpuEngine:
    """A flat FAISS index on the GPU. See RowEngine."""

    exact = True
    max_nearest = 2_048
    """The number of rows that one call of FAISS's kernels can find."""

    def __init__(self, index: FlatIndex, resources: object = None) -> None:
        """`resources`: what else must live as long as the index."""
        self._index = index
        self._resources = resources

    def append(self, vectors: Vectors) -> None:
        """Add further rows, float32 [n, D]."""
        self._index.add(vectors)

    def nearest(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        return self._index.search(queries, count)

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        admitted = np.arange(self._index.ntotal) if mask is None else np.flatnonzero(mask)
        scores = np.empty((len(queries), len(admitted)), dtype=np.float32)
        for start in range(0, len(admitted), _BLOCK):
            rows = admitted[start : start + _BLOCK]
            scores[:, start : start + _BLOCK] = queries @ self._index.reconstruct_batch(rows).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores, order, axis=1), admitted[order]

    def nearest_seconds(self, count: int) -> float:
        return _SECONDS_A_CALL + float(self._index.ntotal * self._index.d * 2) / _BYTES_A_SECOND_ON_GPU

    def flat_seconds(self, admitted: int) -> float:
        return _SECONDS_A_CALL + float(admitted * self._index.d * 4) / _BYTES_A_SECOND_FROM_GPU


def load_on_gpu(source: VectorSource) -> OnGpu:
    """Copy every vector of a gallery to the GPU. Call it on the search thread.

    If the GPU is missing, too small or answers differently, nothing is raised: the result says why it is not used.
    """
    if not gpu_count():
        return OnGpu(None, NO_GPU)
    try:
        return _load(source)
    except RuntimeError as error:
        return OnGpu(None, f"The GPU could not load the vectors: {str(error).splitlines()[0]}")


def _load(source: VectorSource) -> OnGpu:
    sequence, labels = source.covered()
    if not len(labels):
        return OnGpu(None, "The gallery has no vectors to copy to the GPU yet.")
    engine = GpuEngine(*new_gpu_index(source.dim))
    random = np.random.default_rng(_SEED)
    asked = np.sort(random.choice(labels, min(QUERIES, len(labels)), replace=False))
    own, vectors = (np.concatenate(parts) for parts in zip(*source.batches(asked), strict=True))
    # Calibration leaves out each query's own vector. Here it should be found, so no own labels are passed.
    queries = Queries(held_out(own, vectors, vectors, random).vectors, own[:0])
    truth = Truth(queries)
    loaded = labels[:0]
    for batch, rows in source.batches(labels):
        truth.see(len(loaded), batch, rows)
        engine.append(rows)
        loaded = np.concatenate([loaded, batch])
    reason = _disagreement(engine, queries.vectors, truth.nearest())
    if reason is not None:
        return OnGpu(None, reason)
    facts = MainFacts(
        "gpu-exact", exact=True, sequence=sequence, generation=0, bytes_memory=9 * len(loaded), bytes_mapped=0
    )
    return OnGpu(MainSegment(engine, loaded, facts, None), None)


def _disagreement(engine: GpuEngine, queries: Vectors, truth: Rows) -> str | None:
    """A sentence if the GPU finds too small a share of the true ten nearest; else None."""
    count = min(10, truth.shape[1])
    _, rows = engine.nearest(queries, min(count + MARGIN, truth.shape[1]))
    share = float(np.mean([np.isin(true, row).mean() for true, row in zip(truth[:, :count], rows, strict=True)]))
    if share >= _MIN_AGREEMENT:
        return None
    return (
        f"The GPU finds a share of {share:.4f} of the vectors that the CPU finds nearest, expected "
        f"{_MIN_AGREEMENT} or more. The gallery stays on the CPU."
    )
