"""Types that the modules of the index share: arrays, search results, the state of an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.indexes import IndexEstimate, IndexKind, WantedKind

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]
Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Expression(str):
    """A choice of items in the language of the engine that holds both them and their vectors."""

    __slots__ = ()


Allowed = Labels | Expression
"""Which items a search or a read may look at: their labels, ascending; or an expression, made by the same engine."""

CodedKind = Literal["two-stage", "ivf-two-stage"]

Precision = Literal["SQ8", "SQfp16"]
"""How scalar codes store a component: in 8 bits, or as float16."""

MARGIN = 8
"""How many more than wanted a search fetches at least, because hits are re-ordered by the stored vectors."""


class Answered(NamedTuple):
    """Which kind of index gave an answer, and whether that kind finds the true nearest."""

    kind: IndexKind
    exact: bool


class Found(NamedTuple):
    """What a segment found for n queries, nearest first: float32 [n, m] and int64 [n, m], padded with -inf and -1."""

    scores: Scores
    labels: Labels


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What an index found: labels int64 [n, m], nearest first, padded with -1.

    `scores`: float64 [n, m], the inner products with the stored vectors if the index holds these uncoded, else None.
    `began` and `ended`: seconds of `time.perf_counter`. `together`: how many queries were answered in one call.
    `available`: how many vectors the search could choose from.
    """

    labels: Labels
    scores: NDArray[np.float64] | None
    index: str
    exact: bool
    available: int
    began: float
    ended: float
    together: int


@dataclass(frozen=True)
class GpuState:
    """What the GPU does for a gallery that should be searched there.

    `reason`: a sentence that says why the CPU answers. `lost`: how many processes were lost that had served. `vectors`: that
    the GPU holds. `engine`: FAISS and Python in words. `process`: the number of the process.
    """

    state: Literal["starting", "ready", "unavailable"]
    reason: str | None = None
    lost: int = 0
    vectors: int = 0
    engine: str | None = None
    process: int | None = None


@dataclass(frozen=True)
class IndexStatus:
    """Which kind of index a gallery should have, and whether it is being built.

    `chosen`: the kind chosen for its current size; `estimate`: the memory and disk for that kind. `failure`: a sentence
    that says why the last rebuild failed.
    """

    wanted: WantedKind
    chosen: IndexKind
    estimate: IndexEstimate
    is_building: bool
    failure: str | None


@dataclass(frozen=True)
class IndexStatistics:
    """The size and state of an index.

    `main`, `tail`: vectors in the main segment and outside it, removed ones included; `removed`: removed vectors that
    still take up space. `bytes_mapped`: files that the system pages in and out; `bytes_memory`: everything else.
    `recall_at_10`: measured when the main segment was built; None if every search is exact. `gpu`: None if none is wanted.

    `contract.indexes.IndexDescription` has the same figures for the API, merged with IndexStatus. The two classes are
    separate because the search thread makes these for each listing of galleries, without pydantic's validation, and
    because the order of the API's members is published.
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
    gpu: GpuState | None = None


class Segment(Protocol):
    """What SegmentedIndex needs from each of its parts. Internal to this package: galleries use port.VectorIndex.

    The thread that owns the index owns its segments.
    """

    def __len__(self) -> int:
        """How many vectors it holds, removed ones left out."""

    def remove(self, labels: Labels) -> None:
        """Remove these labels; unknown ones are ignored."""

    def search(self, queries: Vectors, limit: int, allowed: Labels | None, exact: bool) -> Found:
        """The nearest among `allowed` (ascending; None: all), up to `limit` columns. `exact`: at any cost."""


def labels_of(allowed: Allowed) -> Labels:
    """The labels of what is allowed, in an engine that makes no expressions."""
    assert not isinstance(allowed, Expression)
    return allowed
