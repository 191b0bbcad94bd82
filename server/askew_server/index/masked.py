"""A segment whose rows never move: adds labels, removals and filters to an engine that knows only rows.

A filter is applied in one of two ways. If it is loose, more rows are fetched than are wanted, and those that the filter
does not admit are dropped; if too few are left, more are fetched. If it is tight, a flat pass tests every row and scores
the admitted ones. The engine predicts which way is cheaper from times measured when it was built.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from askew_server.index.types import Found, Labels, Mask, Rows, Scores, Vectors

_SAFETY_FACTOR = 1.2
_FETCH_GROWTH = 4
_MANY_LABELS = 1 / 16
_MAX_LABEL_SPREAD = 8


class EngineLost(Exception):
    """An engine cannot answer now: another one must."""


class RowEngine(Protocol):
    """Finds rows of a matrix, by number. Results are float32 [n, count] and int64 [n, count], padded with -1.

    An engine in another process raises EngineLost if that process does not answer.
    """

    @property
    def exact(self) -> bool:
        """Whether `nearest` finds the true nearest."""

    @property
    def max_nearest(self) -> int:
        """The largest `count` that `nearest` supports."""

    def nearest(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        """The nearest rows."""

    def flat(self, queries: Vectors, count: int, mask: Mask | None) -> tuple[Scores, Rows]:
        """The nearest of the rows in the mask (bool [rows]; None: all rows). Every row in the mask is scored."""

    def nearest_seconds(self, count: int) -> float:
        """About how long `nearest` takes for one query."""

    def flat_seconds(self, admitted: int) -> float:
        """About how long `flat` takes for one query with `admitted` rows in its mask."""


class MaskedSegment:
    """The rows of an engine, with ascending labels. See Segment for the methods that all segments have."""

    def __init__(self, engine: RowEngine, labels: Labels) -> None:
        """`labels`: int64 [rows], ascending; may be memory-mapped."""
        self._engine = engine
        self._row_labels = labels
        self._alive = np.ones(len(labels), dtype=bool)
        self._count = len(labels)

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> int:
        """How many rows the engine searches, removed ones included."""
        return len(self._row_labels)

    @property
    def labels(self) -> Labels:
        """The labels that it holds, removed ones left out: int64 [n]."""
        held: Labels = self._row_labels[self._alive]
        return held

    @property
    def engine(self) -> RowEngine:
        """The engine that searches the rows."""
        return self._engine

    def rows_of(self, labels: Labels) -> Rows:
        """The rows of labels that it has, removed ones included; unknown labels are left out."""
        return self._rows_of(labels)

    def remove(self, labels: Labels) -> None:
        self._alive[self._rows_of(labels)] = False
        self._count = int(np.count_nonzero(self._alive))

    def remove_up_to(self, sequence: int) -> None:
        """Remove the labels up to this sequence number, which a main segment covers."""
        self._alive &= self._row_labels > sequence
        self._count = int(np.count_nonzero(self._alive))

    def keep(self, labels: Labels) -> None:
        """Remove every label except these, int64 [n]."""
        self._alive &= np.isin(self._row_labels, labels)
        self._count = int(np.count_nonzero(self._alive))

    def search(self, queries: Vectors, limit: int, allowed: Labels | None, exact: bool) -> Found:
        return self._search_with(self._engine, queries, limit, allowed, exact)

    def _search_with(
        self, engine: RowEngine, queries: Vectors, limit: int, allowed: Labels | None, exact: bool
    ) -> Found:
        mask, admitted = self._mask(allowed)
        wanted = min(limit, admitted)
        shape = (len(queries), wanted)
        found = Found(np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64))
        if not wanted:
            return found
        pending = np.arange(len(queries))
        if engine.exact or not exact:
            pending = self._overfetch(engine, queries, found, mask, admitted)
        if len(pending):
            scores, rows = engine.flat(queries[pending], wanted, mask)
            found.scores[pending] = scores
            found.labels[pending] = np.where(rows >= 0, self._row_labels[rows], -1)
        return found

    def _overfetch(self, engine: RowEngine, queries: Vectors, found: Found, mask: Mask | None, admitted: int) -> Rows:
        """Fill `found` by over-fetching while that is cheaper; returns the positions of the queries that remain."""
        wanted = found.labels.shape[1]
        pending = np.arange(len(queries))
        fetched = wanted
        if mask is not None:
            fetched += math.ceil(_SAFETY_FACTOR * wanted * (self.rows / admitted - 1)) + 1
        while len(pending) and _is_worth_it(engine, fetched := min(fetched, self.rows), admitted):
            scores, rows = engine.nearest(queries[pending], fetched)
            fits = rows >= 0 if mask is None else (rows >= 0) & mask[rows]
            is_enough = np.count_nonzero(fits, axis=1) >= wanted
            for position in np.flatnonzero(is_enough):
                columns = np.flatnonzero(fits[position])[:wanted]
                query = pending[position]
                found.scores[query] = scores[position, columns]
                found.labels[query] = self._row_labels[rows[position, columns]]
            pending = pending[~is_enough]
            if fetched == self.rows:
                break
            fetched *= _FETCH_GROWTH
        return pending

    def _mask(self, allowed: Labels | None) -> tuple[Mask | None, int]:
        """The rows that a search may find (None: all), and their number."""
        if allowed is None:
            return (None if self._count == self.rows else self._alive), self._count
        mask = self._admitted(allowed) & self._alive
        return mask, int(np.count_nonzero(mask))

    def _admitted(self, allowed: Labels) -> Mask:
        """For every row, whether its label is among these."""
        first, last = (int(self._row_labels[0]), int(self._row_labels[-1])) if self.rows else (0, 0)
        if len(allowed) > _MANY_LABELS * self.rows and 0 <= last - first < _MAX_LABEL_SPREAD * self.rows:
            # For many labels, a look-up table of all possible ones is seven times as fast.
            table = np.zeros(last - first + 1, dtype=bool)
            table[allowed[(allowed >= first) & (allowed <= last)] - first] = True
            admitted: Mask = table[self._row_labels - first]
            return admitted
        mask = np.zeros(self.rows, dtype=bool)
        mask[self._rows_of(allowed)] = True
        return mask

    def _rows_of(self, labels: Labels) -> Rows:
        """The rows of these labels; unknown labels are left out."""
        rows = np.searchsorted(self._row_labels, labels)
        rows = np.minimum(rows, max(0, self.rows - 1))
        known: Rows = rows[self._row_labels[rows] == labels] if self.rows else rows[:0]
        return known


def _is_worth_it(engine: RowEngine, fetched: int, admitted: int) -> bool:
    return fetched <= engine.max_nearest and engine.nearest_seconds(fetched) <= engine.flat_seconds(admitted)
