"""The vectors of a gallery in Milvus, behind the port of vector indexes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from askew_client.contract.indexes import IndexEstimate, WantedKind
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.port import Report, gallery_closed
from askew_server.index.types import (
    MARGIN,
    Allowed,
    Expression,
    IndexStatistics,
    IndexStatus,
    Labels,
    Neighbours,
    Vectors,
)
from askew_server.milvus.collection import MilvusCollection
from askew_server.milvus.conditions import EVERYTHING, has_label
from askew_server.milvus.reader import LABELS_AT_ONCE

MAX_WANTED = 16_384 - MARGIN
"""Milvus's limit on the hits of one search."""

_SEARCHES_AT_ONCE = 8
_UNCOUNTED = 2**62
"""Stands for how many vectors there were to choose from, where a search found as many as it asked for."""


class MilvusIndex:
    """A VectorIndex whose vectors are in the same rows as the items: it is changed by their store."""

    def __init__(self, gallery: str, collection: MilvusCollection) -> None:
        self._gallery = gallery
        self._collection = collection
        self._connection = collection.connection
        self._pool = ThreadPoolExecutor(_SEARCHES_AT_ONCE, f"milvus-{gallery}")
        self._is_closed = False
        self._vectors = 0

    async def search(self, vectors: Vectors, wanted: int, allowed: Allowed | None, exact: bool) -> Neighbours:
        """See VectorIndex. Raises Refusal: not-ready; validation for what this index cannot answer."""
        self._require_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(self._search, vectors, wanted, allowed, exact=exact))

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        """See VectorIndex."""
        self._require_open()
        return self._search(vectors, wanted, None, exact=False)

    def require_ready(self) -> None:
        """See VectorIndex."""
        self._require_open()
        self._connection.require()

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """See VectorIndex: the store has added them."""
        self._require_open()

    def remove(self, labels: Labels) -> None:
        """See VectorIndex: the store has removed them."""
        self._require_open()

    def statistics(self) -> IndexStatistics:
        """See VectorIndex. The number of vectors is the last one known while Milvus is away."""
        self._require_open()
        if self._connection.fault is None:
            try:
                self._vectors = self._collection.count(EVERYTHING)
            except Refusal:
                # The gallery says so itself.
                pass
        return IndexStatistics(
            kind="milvus",
            exact=self._connection.place.is_exact,
            vectors=self._vectors,
            main=self._vectors,
            tail=0,
            removed=0,
            bytes_memory=0,
            bytes_mapped=0,
            k_factor=None,
            recall_at_10=None,
            generation=0,
            state="ready",
        )

    def status(self) -> IndexStatus:
        """See VectorIndex."""
        self._require_open()
        nothing = IndexEstimate(bytes_memory=0, bytes_mapped=0, build_bytes_memory=0, build_bytes_disk=0)
        return IndexStatus("auto", "milvus", nothing, is_building=False, failure=self._connection.fault)

    @property
    def rebuilds(self) -> Mapping[str, int]:
        """See VectorIndex."""
        return {}

    @property
    def is_building(self) -> bool:
        """See VectorIndex: Milvus builds its indexes itself."""
        return False

    def choose(self, kind: WantedKind) -> None:
        """See VectorIndex. Raises Refusal (validation) for another kind than Milvus's own."""
        self._require_open()
        if kind != "auto":
            raise self._refusal()

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        """See VectorIndex. Raises Refusal (validation)."""
        self._require_open()
        raise self._refusal()

    def close(self) -> None:
        """See VectorIndex. The connection is the store's."""
        self._is_closed = True
        self._pool.shutdown()

    def _search(self, vectors: Vectors, wanted: int, allowed: Allowed | None, *, exact: bool) -> Neighbours:
        place = self._connection.place
        if exact and not place.is_exact:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Expected no exact search: the index of gallery {self._gallery!r} in Milvus is {place.index_type}, which is "
                "approximate. Leave out `exact`, or migrate to an index of type FLAT.",
            )
        if wanted > MAX_WANTED:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"This search needs more than the {MAX_WANTED:,} nearest items, which is the most that Milvus returns: so many "
                "items have the same score. Add a filter, or ask for fewer hits.",
            )
        began = time.perf_counter()
        limit = wanted + MARGIN
        found: list[list[tuple[float, int]]] = [[] for _ in vectors]
        for expression in _parts_of(allowed):
            for position, hits in enumerate(self._collection.search(vectors, limit, expression)):
                found[position] += [(-score, label) for score, label in hits]
        labels = np.full((len(vectors), limit), -1, dtype=np.int64)
        for position, hits in enumerate(found):
            nearest = [label for _, label in sorted(hits)[:limit]]
            labels[position, : len(nearest)] = nearest
        ended = time.perf_counter()
        return Neighbours(labels, None, "milvus", place.is_exact, _UNCOUNTED, began, ended, len(vectors))

    def _require_open(self) -> None:
        if self._is_closed:
            raise gallery_closed(self._gallery)

    def _refusal(self) -> Refusal:
        place = self._connection.place
        return Refusal(
            ProblemKind.VALIDATION,
            f"Expected no kind of index: gallery {self._gallery!r} is in {place}, whose index is {place.index_type}. It was "
            "chosen when the gallery was made, and Milvus builds it itself.",
        )


def _parts_of(allowed: Allowed | None) -> Iterator[Expression]:
    """The expressions that select what is allowed together."""
    if allowed is None:
        yield EVERYTHING
    elif isinstance(allowed, Expression):
        yield allowed
    else:
        labels = allowed.tolist()
        for start in range(0, len(labels), LABELS_AT_ONCE):
            yield has_label(labels[start : start + LABELS_AT_ONCE])
