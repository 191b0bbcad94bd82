"""The index port: what a gallery asks of whatever finds its nearest vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]
Rows = NDArray[np.int64]

IndexKind = Literal["exact", "two-stage", "ivf-two-stage", "gpu-exact"]
CodedKind = Literal["two-stage", "ivf-two-stage"]
WantedKind = Literal["auto", "exact", "two-stage", "ivf-two-stage", "gpu-exact"]

MARGIN = 8
"""How many more than wanted a gallery asks for at least, because it orders them anew by the stored vectors."""


class Found(NamedTuple):
    """What a segment found for n queries, nearest first: float32 [n, m] and int64 [n, m]; -inf and -1 fill up."""

    scores: Scores
    labels: Labels


@dataclass(frozen=True)
class IndexStatistics:
    """What a gallery tells of its index.

    `main`, `tail`: vectors in the main segment and outside it, removed ones included; `removed`: vectors that still
    take their place. `bytes_mapped`: files that the system pages in and out; `bytes_memory`: everything else.
    `recall_at_10`: measured when the main segment was built; None where every search is exact.
    """

    kind: IndexKind
    exact: bool
    vectors: int
    main: int
    tail: int
    removed: int
    bytes_memory: int
    bytes_mapped: int
    k_factor: float | None
    recall_at_10: float | None
    generation: int
    state: Literal["ready", "unverified", "damaged"]


class Segment(Protocol):
    """A part of an index. The thread that owns the index owns its segments."""

    def __len__(self) -> int:
        """How many vectors it holds, removed ones left out."""

    def remove(self, labels: Labels) -> None:
        """Remove these labels; unknown ones are passed over."""

    def search(self, queries: Vectors, limit: int, allowed: Labels | None, exact: bool) -> Found:
        """The nearest among `allowed` (sorted; None: all), up to `limit` columns. `exact`: whatever it costs."""
