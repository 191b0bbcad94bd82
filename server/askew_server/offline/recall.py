"""How many of an item's true nearest neighbours its codes find, measured while a gallery passes by in batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.offline_pack import PackRecall
from askew_client.offline.codes import Codes
from askew_server.index.types import Labels, Vectors
from askew_server.offline.codecs import Codec

RECALL_AT = 10
QUERIES = 256
"""How many items of a gallery are searched with."""

_SAME = 1e-6
"""Items whose scores differ by less are equally good answers: copies of one photo, for example."""


class RecallMeter:
    """Collects the nearest items of some queries, by their vectors and by their codes.

    A query is the stored vector of an item, which is left out of its own answers.
    """

    def __init__(self, labels: Labels, queries: Vectors) -> None:
        """`queries`: float32 [q, D]; `labels`: of their items, int64 [q]."""
        self._labels = labels
        self._queries = queries
        self._exact = np.empty((len(labels), 0), dtype=np.float32)
        self._coded = np.empty((len(labels), 0), dtype=np.float32)
        self._exact_of_coded = np.empty((len(labels), 0), dtype=np.float32)

    def see(self, labels: Labels, vectors: Vectors, codec: Codec, codes: Codes, scales: NDArray[np.float32]) -> None:
        """Take in a batch of items: vectors float32 [n, D], their codes and their factors."""
        if not len(self._labels) or not len(labels):
            return
        exact = self._queries @ vectors.T
        coded = (self._queries @ codec.codes.decode(codes).T) * scales
        own = self._labels[:, None] == labels[None, :]
        exact[own] = coded[own] = -np.inf
        best = _largest(coded)
        self._coded = np.concatenate((self._coded, np.take_along_axis(coded, best, 1)), axis=1)
        self._exact_of_coded = np.concatenate((self._exact_of_coded, np.take_along_axis(exact, best, 1)), axis=1)
        kept = _largest(self._coded)
        self._coded = np.take_along_axis(self._coded, kept, 1)
        self._exact_of_coded = np.take_along_axis(self._exact_of_coded, kept, 1)
        self._exact = np.concatenate((self._exact, np.take_along_axis(exact, _largest(exact), 1)), axis=1)
        self._exact = np.take_along_axis(self._exact, _largest(self._exact), 1)

    def recall(self) -> PackRecall | None:
        """The recall over all batches; None if no query has another item to find."""
        wanted = np.isfinite(self._exact).sum(axis=1)
        asked = wanted > 0
        if not asked.any():
            return None
        last = np.where(np.isfinite(self._exact), self._exact, np.inf).min(axis=1)
        found = (self._exact_of_coded >= last[:, None] - _SAME) & np.isfinite(self._exact_of_coded)
        shares = np.minimum(found.sum(axis=1)[asked] / wanted[asked], 1.0)
        return PackRecall(at=RECALL_AT, value=round(float(shares.mean()), 4), queries=int(asked.sum()))


def _largest(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The columns of the RECALL_AT largest scores of each row, in any order."""
    if scores.shape[1] <= RECALL_AT:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    columns: NDArray[np.int64] = np.argpartition(scores, scores.shape[1] - RECALL_AT, axis=1)[:, -RECALL_AT:]
    return columns
