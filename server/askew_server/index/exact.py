"""The exact segment: a growing float32 matrix, searched by one product with the queries.

One product over the stored matrix reads memory about twice as fast as FAISS's flat scan. The matrix grows by blocks,
so that a new vector never moves the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from askew_server.index.port import Found, Labels, Rows, Scores, Vectors

BLOCK = 2_048
"""Rows of a block: 16 MiB at 2,048 components."""

GATHER_BELOW = 0.25
"""Under this share of admitted rows, gathering them is cheaper than a product with all (measured: 2 µs a gathered row
of 2,048 components, 0.5 µs a row of the whole product)."""

_FEW_QUERIES = 3
_GROUP = 32


class ExactSegment:
    """Vectors of `dim` components by label. See Segment for the methods that all segments have."""

    def __init__(self, dim: int, threads: int = 1) -> None:
        """`threads`: large products are split over so many."""
        self._dim = dim
        self._blocks: list[Vectors] = []
        self._labels = np.empty(0, dtype=np.int64)
        self._rows: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(threads, "askew-product") if threads > 1 else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Labels:
        """The labels that it holds, in no order: int64 [n]."""
        return self._labels[: len(self)]

    @property
    def bytes_memory(self) -> int:
        """What its blocks take."""
        return sum(block.nbytes for block in self._blocks) + self._labels.nbytes

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors, float32 [n, D], under labels that it does not hold yet."""
        start, end = len(self), len(self) + len(labels)
        while len(self._blocks) * BLOCK < end:
            self._blocks.append(np.empty((BLOCK, self._dim), dtype=np.float32))
        if len(self._labels) < end:
            self._labels = np.concatenate([self.labels, np.empty(max(end, BLOCK), dtype=np.int64)])
        self._labels[start:end] = labels
        self._rows.update(zip(labels.tolist(), range(start, end), strict=True))
        for row in range(start, end, BLOCK):
            self._write(row, vectors[row - start : row - start + BLOCK])

    def remove(self, labels: Labels) -> None:
        known = [label for label in dict.fromkeys(labels.tolist()) if label in self._rows]
        # A row at a time costs some microseconds; writing the matrix anew costs about one for each row that stays.
        if len(known) > len(self) // 8:
            self._keep(~np.isin(self.labels, known))
            return
        for label in known:
            row = self._rows.pop(label)
            last = len(self._rows)
            if row != last:
                self._move(last, row)
        self._drop_empty_blocks()

    def remove_up_to(self, sequence: int) -> None:
        """Remove the labels up to this sequence number, which a main segment covers."""
        self._keep(self.labels > sequence)

    def take(self, count: int) -> tuple[Labels, Vectors]:
        """Remove `count` vectors, whichever is cheapest, and return them with their labels."""
        start = max(0, len(self) - count)
        labels = self.labels[start:].copy()
        vectors = self._gather(np.arange(start, len(self)))
        for label in labels.tolist():
            del self._rows[label]
        self._drop_empty_blocks()
        return labels, vectors

    def vectors(self, labels: Labels) -> Vectors:
        """The vectors under labels that it holds, float32 [n, D]."""
        found = np.empty((len(labels), self._dim), dtype=np.float32)
        for position, label in enumerate(labels.tolist()):
            block, offset = divmod(self._rows[label], BLOCK)
            found[position] = self._blocks[block][offset]
        return found

    def search(self, queries: Vectors, limit: int, allowed: Labels | None, exact: bool) -> Found:
        """The true nearest; of equal ones the smallest labels. `exact` makes no difference here."""
        if allowed is None:
            return _nearest(self._all_scores(queries), self.labels, limit)
        rows = np.flatnonzero(np.isin(self.labels, allowed))
        if len(rows) < GATHER_BELOW * len(self):
            parts = [self._gather(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
            scores = _side_by_side((_product(part, queries) for part in parts), len(queries))
        else:
            scores = self._all_scores(queries)[:, rows]
        return _nearest(scores, self.labels[rows], limit)

    def _all_scores(self, queries: Vectors) -> Scores:
        # The last block may be an empty one (see _drop_empty_blocks).
        ends = [len(self) - number * BLOCK for number in range(len(self._blocks))]
        filled = [block[:end] for block, end in zip(self._blocks, ends, strict=True) if end > 0]
        mapped: Callable[..., Iterable[Scores]] = map if self._pool is None else self._pool.map
        return _side_by_side(mapped(lambda block: _product(block, queries), filled), len(queries))

    def _gather(self, rows: Rows) -> Vectors:
        blocks = rows // BLOCK
        parts = [self._blocks[number][rows[blocks == number] % BLOCK] for number in np.unique(blocks)]
        return np.concatenate(parts) if parts else np.empty((0, self._dim), dtype=np.float32)

    def _write(self, row: int, vectors: Vectors) -> None:
        block, offset = divmod(row, BLOCK)
        here = min(len(vectors), BLOCK - offset)
        self._blocks[block][offset : offset + here] = vectors[:here]
        if here < len(vectors):
            self._blocks[block + 1][: len(vectors) - here] = vectors[here:]

    def _move(self, source: int, target: int) -> None:
        self._blocks[target // BLOCK][target % BLOCK] = self._blocks[source // BLOCK][source % BLOCK]
        label = int(self._labels[source])
        self._labels[target] = label
        self._rows[label] = target

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        if kept.all():
            return
        rows = np.flatnonzero(kept)
        labels = self.labels[rows]
        # Rows only move down, block by block, so none is overwritten before it is read.
        for start in range(0, len(rows), BLOCK):
            self._write(start, self._gather(rows[start : start + BLOCK]))
        self._labels[: len(labels)] = labels
        self._rows = dict(zip(labels.tolist(), range(len(labels)), strict=True))
        self._drop_empty_blocks()

    def _drop_empty_blocks(self) -> None:
        # One empty block more is kept, so that one item coming and going does not allocate each time.
        del self._blocks[-(-len(self) // BLOCK) + 1 :]


def _product(block: Vectors, queries: Vectors) -> Scores:
    """Inner products: float32 [n, rows]. BLAS multiplies by two columns more slowly than twice by one."""
    if len(queries) < _FEW_QUERIES:
        return np.stack([block @ query for query in queries])
    product: Scores = (block @ queries.T).T
    return product


def _side_by_side(parts: Iterable[Scores], queries: int) -> Scores:
    listed = list(parts)
    return np.concatenate(listed, axis=1) if listed else np.empty((queries, 0), dtype=np.float32)


def _nearest(scores: Scores, labels: Labels, limit: int) -> Found:
    """The best `limit` of each row of scores, by falling score, then label."""
    wanted = min(limit, len(labels))
    found = Found(np.empty((len(scores), wanted), np.float32), np.empty((len(scores), wanted), np.int64))
    if not wanted:
        return found
    for position, row in enumerate(scores):
        columns = _best_columns(row, wanted)
        chosen = columns[np.lexsort((labels[columns], -row[columns]))[:wanted]]
        found.scores[position], found.labels[position] = row[chosen], labels[chosen]
    return found


def _best_columns(row: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
    """Where the best `wanted` scores of float32 [rows] are, and all that equal the last of these."""
    columns: NDArray[np.int64] | None = None
    groups = len(row) // _GROUP
    if groups > 2 * wanted:
        # The best lie in the groups with the best maxima, and a maximum is found much faster than a partition.
        maxima = np.maximum.reduceat(row, np.arange(0, len(row), _GROUP))
        chosen = np.flatnonzero(maxima >= _last_of_best(maxima, wanted))
        columns = (chosen[:, None] * _GROUP + np.arange(_GROUP)).ravel()
        columns = columns[: np.searchsorted(columns, len(row))]
        row = row[columns]
    best = np.flatnonzero(row >= _last_of_best(row, wanted))
    return best if columns is None else columns[best]


def _last_of_best(values: NDArray[np.float32], wanted: int) -> np.float32:
    last: np.float32 = np.partition(values, len(values) - wanted)[len(values) - wanted]
    return last
