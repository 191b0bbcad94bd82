"""A gallery's index: a main segment, if one was built, and the changes since.

* main: immutable, memory-mapped, searched in two stages (two_stage.py), or on the GPU while there is one (gpu/);
* coded tails: new vectors in memory, coded with the main segment's codebooks;
* fresh: the newest vectors, uncoded, searched exactly. Without a main segment, it holds all vectors.

Removed vectors stay in main and tails, where searches skip them, until a rebuild drops them.
"""

from __future__ import annotations

import threading

import numpy as np

from askew_client.contract.indexes import IndexKind, WantedKind
from askew_server.index.exact import ExactSegment
from askew_server.index.faiss_library import require_faiss
from askew_server.index.main_segment import MainSegment
from askew_server.index.planning import built_kind, chosen_kind
from askew_server.index.threads import limit_threads, search_threads
from askew_server.index.two_stage import CodedTail
from askew_server.index.types import MARGIN, Answered, Found, IndexStatistics, Labels, Segment, Vectors

MAX_FRESH = 2_048
"""Uncoded vectors next to a main segment: scanning these takes about as long as scanning 100,000 coded ones."""

MIN_TAIL_TO_REBUILD = 20_000
"""A rebuild pays if more vectors than this are outside the main segment, and more than a quarter of its size."""

_AT_ONCE_EXACT = 32
"""Half of the queries of 64 clients: while one half is searched, the answers to the other half are written."""

_AT_ONCE_CODED = 8
_AT_ONCE_BY_GPU = 256
_CODED_ON_ADD = 512
_CODED_ON_SEARCH = 64
_MIN_REMOVED_TO_REBUILD = 1_000


class SegmentedIndex:
    """Vectors by label, searched by inner product; see the module.

    One thread at a time may use it. A search counts as use: it may move a few vectors from one segment to another.
    Vectors are float32 [n, D] of unit length, labels int64 [n].
    """

    def __init__(
        self,
        dim: int,
        main: MainSegment | None = None,
        wanted: WantedKind = "auto",
        *,
        max_fresh: int = MAX_FRESH,
        min_tail_to_rebuild: int = MIN_TAIL_TO_REBUILD,
    ) -> None:
        """`wanted`: the kind that this index should have; see `wants_rebuild`. Raises EngineMissing."""
        require_faiss()
        self._dim = dim
        self._threads = search_threads()
        self._limited_thread = 0
        self._max_fresh = max_fresh
        self._min_tail_to_rebuild = min_tail_to_rebuild
        self._main = main
        self._fresh = ExactSegment(dim, self._threads)
        self._tail = main.new_tail() if main is not None else None
        self._old_tails: list[CodedTail] = []
        self.wanted: WantedKind = wanted

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._segments())

    @property
    def kind(self) -> IndexKind:
        """The kind of index that answers now."""
        return self._main.kind if self._main is not None else "exact"

    @property
    def exact(self) -> bool:
        """Whether every search finds the true nearest now."""
        return (self._main is None or self._main.exact) and not any(map(len, self._tails()))

    @property
    def built(self) -> IndexKind:
        """The kind that was built, which answers where nothing faster does."""
        return self._main.facts.kind if self._main is not None else "exact"

    @property
    def answered(self) -> Answered:
        """Which index gave the last answer, and whether every search by it finds the true nearest."""
        if self._main is None:
            return Answered("exact", True)
        kind, exact = self._main.answered
        return Answered(kind, exact and not any(map(len, self._tails())))

    def queries_for(self, *, exact: bool) -> int:
        """How many waiting queries one search should answer; `exact`: one that must find the true nearest."""
        if self._main is not None and self._main.kind == "gpu-exact":
            return _AT_ONCE_BY_GPU
        return _AT_ONCE_EXACT if exact or self.exact else _AT_ONCE_CODED

    def labels(self) -> Labels:
        """Every label that it holds, ascending: int64 [n]."""
        return np.sort(np.concatenate([segment.labels for segment in self._parts()]))

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors under ascending labels; a known label is replaced."""
        self.remove(labels)
        self._fresh.add(labels, vectors)
        self._code_some(max(len(labels), _CODED_ON_ADD))

    def remove(self, labels: Labels) -> None:
        """Remove these labels; unknown ones are ignored."""
        for segment in self._segments():
            segment.remove(labels)

    def search(self, queries: Vectors, limit: int, allowed: Labels | None = None, exact: bool = False) -> Labels:
        """The labels of the nearest, nearest first: int64 [n, limit], padded with -1.

        `allowed`: search only among these labels, int64 [m], ascending. The order is by the scores of the codes, which
        approximate the true ones: ask for `to_fetch` labels, order them by the stored vectors, and keep the best.
        `exact`: the true nearest are then among them, at any cost.
        """
        self._limit_threads()
        self._code_some(_CODED_ON_SEARCH)
        found = [segment.search(queries, limit, allowed, exact) for segment in self._segments()]
        labels = np.full((len(queries), limit), -1, dtype=np.int64)
        nearest = _merged(found, limit)
        labels[:, : nearest.shape[1]] = nearest
        return labels

    def stored(self, labels: Labels) -> Vectors | None:
        """The vectors of known labels, float32 [n, D], as they were added; None if the index may have coded them."""
        return self._fresh.vectors(labels) if self._main is None else None

    def to_fetch(self, limit: int, *, exact: bool) -> int:
        """How many labels to ask `search` for, so that the best `limit` are among them."""
        return limit + (self._main.margin(limit, exact) if self._main is not None else MARGIN)

    def statistics(self) -> IndexStatistics:
        """Its size and state."""
        main, facts = self._main, self._main.facts if self._main is not None else None
        in_memory = self._fresh.bytes_memory + sum(tail.bytes_memory for tail in self._tails())
        return IndexStatistics(
            kind=self.kind,
            exact=self.exact,
            vectors=len(self),
            main=self._main_rows,
            tail=self._tail_rows,
            removed=self._removed_rows,
            bytes_memory=in_memory + (facts.bytes_memory if facts is not None else 0),
            bytes_mapped=facts.bytes_mapped if facts is not None else 0,
            k_factor=facts.k_factor if facts is not None else None,
            recall_at_10=facts.recall_at_10 if facts is not None else None,
            generation=facts.generation if facts is not None else 0,
            state=main.state if main is not None else "ready",
        )

    def wants_rebuild(self) -> str | None:
        """Why a rebuild pays: "kind" (the index should have another kind), "tail" or "removed"; None if it does not."""
        if built_kind(chosen_kind(self.wanted, len(self), self._dim, self.built)) != self.built:
            return "kind"
        if self._main is None:
            return None
        if self._tail_rows > max(self._min_tail_to_rebuild, self._main_rows // 4):
            return "tail"
        rows = self._main_rows + self._tail_rows
        return "removed" if self._removed_rows > max(_MIN_REMOVED_TO_REBUILD, rows // 5) else None

    def replace_main(self, main: MainSegment) -> None:
        """Use a new main segment. Vectors that it covers are dropped from the tails; those removed since are skipped."""
        main.keep(self.labels())
        self._fresh.remove_up_to(main.facts.sequence)
        for tail in self._tails():
            tail.remove_up_to(main.facts.sequence)
        # Their vectors are coded with other codebooks; they stay until a main segment covers them.
        self._old_tails = [tail for tail in self._tails() if len(tail)]
        self._main, self._tail = main, main.new_tail()

    @property
    def main(self) -> MainSegment | None:
        """The main segment."""
        return self._main

    @property
    def _main_rows(self) -> int:
        return self._main.rows if self._main is not None else 0

    @property
    def _tail_rows(self) -> int:
        return len(self._fresh) + sum(tail.rows for tail in self._tails())

    @property
    def _removed_rows(self) -> int:
        return self._main_rows + self._tail_rows - len(self)

    def _code_some(self, count: int) -> None:
        """Code some of the fresh vectors if there are more than a search should scan."""
        surplus = len(self._fresh) - self._max_fresh
        if self._tail is not None and surplus > 0:
            self._tail.append(*self._fresh.take(min(count, surplus)))

    def _limit_threads(self) -> None:
        # FAISS keeps the number of threads for each calling thread.
        if self._limited_thread != threading.get_ident():
            limit_threads(self._threads)
            self._limited_thread = threading.get_ident()

    def _parts(self) -> list[ExactSegment | MainSegment | CodedTail]:
        return [*([self._main] if self._main is not None else []), *self._tails(), self._fresh]

    def _tails(self) -> list[CodedTail]:
        return [*([self._tail] if self._tail is not None else []), *self._old_tails]

    def _segments(self) -> list[Segment]:
        return [*self._parts()]


def _merged(found: list[Found], limit: int) -> Labels:
    """The best labels of all segments' results: int64 [n, up to limit]."""
    parts = [each for each in found if each.labels.shape[1]]
    if len(parts) == 1:
        return parts[0].labels
    if not parts:
        return np.empty((len(found[0].labels), 0), dtype=np.int64)
    scores = np.concatenate([each.scores for each in parts], axis=1)
    labels = np.concatenate([each.labels for each in parts], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
    return np.take_along_axis(labels, order, axis=1)
