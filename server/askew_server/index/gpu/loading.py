"""In the process of the GPU: read the vectors of a gallery, hold them on the devices, and prepare the proof.

The proof's queries are vectors of the gallery, half of them moved as a student's queries are. Their true nearest are
found by NumPy in the same pass; the server compares them with what the GPU finds.
"""

from __future__ import annotations

import pickle
import socket

import numpy as np
import threadpoolctl

from askew_server.index.calibration import Queries, Truth, held_out
from askew_server.index.gpu.exchange import PROGRESS, PROVED_BY, PROVED_NEAREST, Answer, Load, SharedMemory
from askew_server.index.gpu.parts import Devices
from askew_server.index.port import VectorSource
from askew_server.index.types import Labels

_ADDED_AT_ONCE = 16_384
"""Rows: an index on a GPU copies itself whenever it grows."""

_SEED = 20_21


def load_vectors(load: Load, devices: Devices, memory: SharedMemory, slot: int, connection: socket.socket) -> int:
    """Load what the server asks for; how many vectors are held. Labels that no longer exist are left out."""
    source: VectorSource = pickle.loads(load.source)
    labels = load.labels(load.count).copy()
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        queries = _queries(source, labels) if len(labels) else None
        if queries is None:
            return 0
        truth = Truth(queries)
        held, waiting, waiting_rows = 0, [], 0
        for found, vectors in source.batches(labels):
            truth.see(held + waiting_rows, found, vectors)
            load.labels(load.count)[held + waiting_rows : held + waiting_rows + len(found)] = found
            waiting.append(vectors)
            waiting_rows += len(found)
            if waiting_rows >= _ADDED_AT_ONCE:
                devices.add(np.concatenate(waiting))
                held, waiting, waiting_rows = held + waiting_rows, [], 0
                connection.send(Answer(True, PROGRESS, held / len(labels)).packed())
        if waiting:
            devices.add(np.concatenate(waiting))
            held += waiting_rows
    true_rows, true_scores = truth.nearest()[:, :PROVED_NEAREST], truth.scores()[:, :PROVED_NEAREST]
    memory.vectors(slot, PROVED_BY)[:] = queries.vectors
    scores, rows = memory.answer(slot, PROVED_BY, PROVED_NEAREST)
    scores[:], rows[:] = -np.inf, -1
    scores[:, : true_scores.shape[1]], rows[:, : true_rows.shape[1]] = true_scores, true_rows
    return held


def _queries(source: VectorSource, labels: Labels) -> Queries | None:
    """As many queries as the server expects, however few vectors there are; None if there are none."""
    random = np.random.default_rng(_SEED)
    asked = np.sort(random.choice(labels, min(PROVED_BY, len(labels)), replace=False))
    found = [*source.batches(asked)]
    if not found:
        return None
    own, vectors = (np.concatenate(parts) for parts in zip(*found, strict=True))
    drawn = random.permutation(np.resize(np.arange(len(own)), PROVED_BY))
    # Calibration leaves out each query's own vector. Here it should be found, so no own labels are passed.
    queries = held_out(own[drawn], vectors[drawn], vectors, random).vectors
    # Equal vectors span no direction to move in.
    return Queries(np.where(np.isfinite(queries), queries, vectors[drawn]), own[:0])
