"""A gallery's index: a main segment where one was built, and what has changed since.

* main: immutable, memory-mapped, searched in two stages (coded.py), or on the GPU (gpu.py);
* coded tails: new vectors, coded as the main segment's are, in memory;
* fresh: the newest vectors, uncoded, searched exactly. Without a main segment all vectors lie here.

Removed vectors keep their place in main and tails, and are passed over, until a rebuild leaves them out.
"""

from __future__ import annotations

import threading

import numpy as np

from askew_client.contract.indexes import IndexKind, WantedKind
from askew_server.index.exact import ExactSegment
from askew_server.index.faiss_library import import_faiss
from askew_server.index.main_segment import MainSegment
from askew_server.index.planning import chosen_kind
from askew_server.index.threads import limit_threads, search_threads
from askew_server.index.two_stage import CodedTail
from askew_server.index.types import MARGIN, Found, IndexStatistics, Labels, Segment, Vectors

FRESH = 2_048
"""Uncoded vectors beside a main segment: scanning so many takes about as long as scanning 100,000 coded ones."""

TAIL = 20_000
"""Vectors outside the main segment from which on a rebuild pays, once they are also a quarter of it."""

_SETTLE_ON_ADD = 512
_SETTLE_ON_SEARCH = 64
_LEAST_REMOVED = 1_000


class SegmentedIndex:
    """Vectors by label, searched by inner product; see the module.

    One thread at a time may use it, and searches count as use: they may move a few vectors from one segment to
    another. Vectors are float32 [n, D] of unit length, labels int64 [n].
    """

    def __init__(self, dim: int, main: MainSegment | None = None, wanted: WantedKind = "auto") -> None:
        """`wanted`: the kind that this index should be of; `wants_rebuild` says when it is not. Raises EngineMissing."""
        self._faiss = import_faiss()
        self._dim = dim
        self._threads = search_threads()
        self._limited_thread = 0
        self._main = main
        self._fresh = ExactSegment(self._faiss, dim, self._threads)
        self._tail = main.new_tail() if main is not None else None
        self._old_tails: list[CodedTail] = []
        self.wanted: WantedKind = wanted

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._segments())

    @property
    def name(self) -> IndexKind:
        """How answers and gallery descriptions call this index."""
        return self._main.facts.kind if self._main is not None else "exact"

    @property
    def exact(self) -> bool:
        """Whether every search finds the true nearest."""
        return (self._main is None or self._main.facts.exact) and not self._tails()

    @property
    def sequence(self) -> int:
        """Every label up to this one is known to the main segment: what changed later is to be added or removed."""
        return self._main.facts.sequence if self._main is not None else 0

    def labels(self) -> Labels:
        """Every label that it holds, rising: int64 [n]."""
        return np.sort(np.concatenate([segment.labels for segment in self._parts()]))

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors under rising labels; one that it holds already is replaced."""
        self.remove(labels)
        self._fresh.add(labels, vectors)
        self._settle(max(len(labels), _SETTLE_ON_ADD))

    def remove(self, labels: Labels) -> None:
        """Remove these labels; unknown ones are passed over."""
        for segment in self._segments():
            segment.remove(labels)

    def search(self, queries: Vectors, limit: int, allowed: Labels | None = None, exact: bool = False) -> Labels:
        """The labels of the nearest, nearest first: int64 [n, limit], filled up with -1.

        `allowed`: search among these labels only, int64 [m], rising. Nearness is that of the codes, which is close to
        the true one: ask for `to_fetch` labels, order them by the stored vectors, and keep the best. `exact`: the true
        nearest are then among them, whatever that costs.
        """
        self._limit_threads()
        self._settle(_SETTLE_ON_SEARCH)
        found = [segment.search(queries, limit, allowed, exact) for segment in self._segments()]
        labels = np.full((len(queries), limit), -1, dtype=np.int64)
        nearest = _merged(found, limit)
        labels[:, : nearest.shape[1]] = nearest
        return labels

    def stored(self, labels: Labels) -> Vectors | None:
        """The vectors under labels that it holds, float32 [n, D], as they were added; None where it codes them."""
        return self._fresh.vectors(labels) if self._main is None else None

    def to_fetch(self, limit: int, *, exact: bool) -> int:
        """How many labels to ask `search` for, so that the best `limit` are among them."""
        return limit + (self._main.margin(limit, exact) if self._main is not None else MARGIN)

    def statistics(self) -> IndexStatistics:
        """What there is to tell of it."""
        main, facts = self._main, self._main.facts if self._main is not None else None
        outside = len(self._fresh) + sum(tail.rows for tail in self._tails())
        held = self._fresh.bytes_memory + sum(tail.bytes_memory for tail in self._tails())
        return IndexStatistics(
            kind=self.name,
            exact=self.exact,
            vectors=len(self),
            main=main.rows if main is not None else 0,
            tail=outside,
            removed=(main.rows if main is not None else 0) + outside - len(self),
            bytes_memory=held + (facts.bytes_memory if facts is not None else 0),
            bytes_mapped=facts.bytes_mapped if facts is not None else 0,
            k_factor=facts.k_factor if facts is not None else None,
            recall_at_10=facts.recall_at_10 if facts is not None else None,
            generation=facts.generation if facts is not None else 0,
            state=main.state if main is not None else "ready",
        )

    def wants_rebuild(self) -> str | None:
        """Why a rebuild pays: "kind" (of another kind than it should be), "tail", "removed"; None: it does not."""
        if chosen_kind(self.wanted, len(self), self._dim, self.name) != self.name:
            return "kind"
        if self._main is None:
            return None
        outside = len(self._fresh) + sum(tail.rows for tail in self._tails())
        if outside > max(TAIL, self._main.rows // 4):
            return "tail"
        rows = self._main.rows + outside
        removed = rows - len(self)
        return "removed" if removed > max(_LEAST_REMOVED, rows // 5) else None

    def replace_main(self, main: MainSegment) -> None:
        """Take a new main segment: what it covers leaves the tails, what was removed meanwhile is passed over."""
        main.keep(self.labels())
        self._fresh.remove_up_to(main.facts.sequence)
        for tail in self._tails():
            tail.remove_up_to(main.facts.sequence)
        # Their vectors are coded with other codebooks; they stay until a main segment covers them.
        self._old_tails = [tail for tail in self._tails() if len(tail)]
        self._main, self._tail = main, main.new_tail()

    def _settle(self, count: int) -> None:
        """Code some of the uncoded vectors, where there are more than a search should scan."""
        surplus = len(self._fresh) - FRESH
        if self._tail is not None and surplus > 0:
            self._tail.append(*self._fresh.take(min(count, surplus)))

    def _limit_threads(self) -> None:
        # FAISS keeps the number of threads for each calling thread.
        if self._limited_thread != threading.get_ident():
            limit_threads(self._faiss, self._threads)
            self._limited_thread = threading.get_ident()

    def _parts(self) -> list[ExactSegment | MainSegment | CodedTail]:
        return [*([self._main] if self._main is not None else []), *self._tails(), self._fresh]

    def _tails(self) -> list[CodedTail]:
        return [*([self._tail] if self._tail is not None else []), *self._old_tails]

    def _segments(self) -> list[Segment]:
        return [*self._parts()]


def _merged(found: list[Found], limit: int) -> Labels:
    """The best of what the segments found: int64 [n, up to limit]."""
    parts = [each for each in found if each.labels.shape[1]]
    if len(parts) == 1:
        return parts[0].labels
    if not parts:
        return np.empty((len(found[0].labels), 0), dtype=np.int64)
    scores = np.concatenate([each.scores for each in parts], axis=1)
    labels = np.concatenate([each.labels for each in parts], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
    return np.take_along_axis(labels, order, axis=1)
