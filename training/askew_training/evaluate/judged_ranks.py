"""The ranks of judged gallery photos, by counting what scores higher: exact, and in a stream of any length.

A ranking orders the gallery by score, highest first, and equal scores by row: a stable argsort of the negated scores. Metrics
need the places of the positives and of the junk in it, and the few photos at its head. Neither needs the ranking itself, nor
more than one block of scores at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where one query's judged photos are in its ranking.

    `rows`: int64 [j], the judged rows of the gallery, ascending. `ranks`: int64 [j], the place of each from 0, or -1 for one
    without a score. `first_rows`, `first_scores`: [k], the head of the ranking.
    """

    rows: Rows
    ranks: Rows
    first_rows: Rows
    first_scores: Scores

    def of(self, rows: Rows) -> Rows:
        """The ranks of some of the judged rows that have a score, ascending: int64 [n]."""
        ranks = self.ranks[np.searchsorted(self.rows, np.unique(rows))]
        return np.sort(ranks[ranks >= 0])


class JudgedRanks:
    """The rankings of some queries, of which only the places of judged photos and the first photos are kept.

    The first block holds all judged photos. More blocks, of photos that nobody judged, may follow: distractors.
    """

    def __init__(self, scores: Scores, judged: Sequence[Rows], first: int) -> None:
        """`scores`: float [n, m], of all queries and the first m gallery photos; NaN: never found. `judged`: for each
        query, the rows whose places are wanted. `first`: how many photos at the head of each ranking are kept."""
        self._next = 0
        self._queries = [
            _Counter(row, np.unique(np.asarray(rows, dtype=np.int64)), first)
            for row, rows in zip(scores, judged, strict=True)
        ]
        self.add(scores)

    def add(self, scores: Scores) -> None:
        """Rank another block, float [n, b], whose rows of the gallery follow those before it."""
        for query, row in zip(self._queries, scores, strict=True):
            query.add(row, self._next)
        self._next += scores.shape[1]

    @property
    def photos(self) -> int:
        """How many gallery photos were ranked."""
        return self._next

    def places(self) -> list[Places]:
        """The places for each query."""
        return [query.places() for query in self._queries]


class _Counter:
    """One query: counts, for each judged photo, the photos before it."""

    def __init__(self, scores: Scores, rows: Rows, first: int) -> None:
        own = scores[rows]
        self._rows, self._is_found = rows, ~np.isnan(own)
        found = np.flatnonzero(self._is_found)
        # Ascending by score; of equal ones the last row first, which is the order of a ranking from its end.
        self._order = found[np.lexsort((-rows[found], own[found]))]
        self._values = own[self._order]
        self._before = np.zeros(len(self._order) + 1, dtype=np.int64)
        self._ties = np.zeros(len(self._order), dtype=np.int64)
        self._first = first
        self._head_rows, self._head_scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=scores.dtype)

    def add(self, scores: Scores, start: int) -> None:
        if len(self._values):
            # Most photos score below every judged one, and change no count.
            higher = scores[scores >= self._values[0]]
            passed = np.searchsorted(self._values, higher, side="left")
            self._before += np.bincount(passed, minlength=len(self._before))
            inside = passed < len(self._values)
            if np.any(self._values[passed[inside]] == higher[inside]):
                self._count_ties(scores, start)
        self._keep_head(scores, start)

    def _count_ties(self, scores: Scores, start: int) -> None:
        """Of photos that score the same, those with a lower row are before."""
        for value in np.unique(self._values[np.isin(self._values, scores)]):
            rows = np.flatnonzero(scores == value) + start
            same = np.flatnonzero(self._values == value)
            self._ties[same] += np.searchsorted(rows, self._rows[self._order[same]], side="left")

    def _keep_head(self, scores: Scores, start: int) -> None:
        if not self._first:
            return
        is_full = len(self._head_scores) == self._first
        # A later photo with the score of the last one is behind it.
        chosen = np.flatnonzero(scores > self._head_scores[-1] if is_full else ~np.isnan(scores))
        if not len(chosen):
            return
        if len(chosen) > self._first:
            kth = np.partition(scores[chosen], len(chosen) - self._first)[len(chosen) - self._first]
            chosen = chosen[scores[chosen] >= kth]
        rows = np.concatenate([self._head_rows, chosen + start])
        values = np.concatenate([self._head_scores, scores[chosen]])
        head = np.lexsort((rows, -values))[: self._first]
        self._head_rows, self._head_scores = rows[head], values[head]

    def places(self) -> Places:
        ranks = np.full(len(self._rows), -1, dtype=np.int64)
        # `_before[i]` counts photos that score above exactly the i lowest judged ones.
        above = np.cumsum(self._before[::-1])[::-1][1:]
        ranks[self._order] = above + self._ties
        return Places(self._rows, ranks, self._head_rows, self._head_scores)


def without_junk(ranks: Rows, junk: Rows) -> Rows:
    """Ranks of positives in a ranking from which the junk is removed: each loses the number of junk photos before it.

    `ranks` [n] and `junk` [k]: places from 0.
    """
    return np.asarray(ranks - np.searchsorted(np.sort(junk), ranks, side="left"), dtype=np.int64)
