"""The exact segment: a growing float32 matrix, searched by one matrix product with the queries.

A product over the stored matrix reads memory about twice as fast as FAISS's flat scan. The matrix grows by blocks, so
that adding a vector never moves the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from askew_server.index.faiss_library import largest
from askew_server.index.types import Found, Labels, Mask, Rows, Scores, Vectors

BLOCK = 2_048
"""Rows of a block: 16 MiB at 2,048 components."""

GATHER_BELOW = 0.25
"""Below this share of admitted rows, gathering them is cheaper than a product with all rows (measured: 2 µs for a
gathered row of 2,048 components, 0.5 µs for a row of the whole product)."""

_FEW_QUERIES = 3


class ExactSegment:
    """Vectors of `dim` components by label. See Segment for the methods that all segments have."""

    def __init__(self, dim: int, threads: int = 1) -> None:
        """`threads`: how many threads share a large product."""
        self._dim = dim
        self._blocks: list[Vectors] = []
        self._labels = np.empty(0, dtype=np.int64)
        self._rows: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(threads, "askew-product") if threads > 1 else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Labels:
        """The labels that it holds, in no particular order: int64 [n]."""
        return self._labels[: len(self)]

    @property
    def bytes_memory(self) -> int:
        """Bytes of its blocks and labels."""
        return sum(block.nbytes for block in self._blocks) + self._labels.nbytes

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors, float32 [n, D], under new labels."""
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
        # Moving a single row costs a few microseconds; rewriting the matrix costs about one for each row that stays.
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
        """Remove the last `count` rows, the cheapest ones to remove, and return their labels and vectors."""
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
        """The true nearest; equal scores are ordered by label. `exact` makes no difference here."""
        if allowed is None:
            return _nearest(self._all_scores(queries), self.labels, limit)
        rows = np.flatnonzero(np.isin(self.labels, allowed))
        if len(rows) < GATHER_BELOW * len(self):
            admitted = np.empty((len(rows), len(queries)), dtype=np.float32)
            for start in range(0, len(rows), BLOCK):
                part = rows[start : start + BLOCK]
                _multiply(self._gather(part), queries, admitted[start : start + BLOCK])
            scores = admitted.T
        else:
            scores = self._all_scores(queries)[:, rows]
        return _nearest(scores, self.labels[rows], limit)

    def _all_scores(self, queries: Vectors) -> Scores:
        scores = np.empty((len(self), len(queries)), dtype=np.float32)
        mapped: Callable[..., Iterable[None]] = map if self._pool is None else self._pool.map

        def multiply(start: int) -> None:
            # The last block may be empty (see _drop_empty_blocks), and the one before it is rarely full.
            part = scores[start : start + BLOCK]
            _multiply(self._blocks[start // BLOCK][: len(part)], queries, part)

        for _ in mapped(multiply, range(0, len(self), BLOCK)):
            pass
        return scores.T

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

    def _keep(self, kept: Mask) -> None:
        if kept.all():
            return
        rows = np.flatnonzero(kept)
        labels = self.labels[rows]
        # Rows only move towards the start, block by block, so none is overwritten before it is read.
        for start in range(0, len(rows), BLOCK):
            self._write(start, self._gather(rows[start : start + BLOCK]))
        self._labels[: len(labels)] = labels
        self._rows = dict(zip(labels.tolist(), range(len(labels)), strict=True))
        self._drop_empty_blocks()

    def _drop_empty_blocks(self) -> None:
        # One empty block is kept, so that adding and removing one item in turn does not allocate each time.
        del self._blocks[-(-len(self) // BLOCK) + 1 :]


def _multiply(vectors: Vectors, queries: Vectors, scores: Scores) -> None:
    """Inner products of float32 [rows, D] and [n, D] into float32 [rows, n].

    One product with two columns takes BLAS longer than two products with one column.
    """
    if len(queries) < _FEW_QUERIES:
        for column, query in enumerate(queries):
            scores[:, column] = vectors @ query
    else:
        np.matmul(vectors, queries.T, out=scores)


def _nearest(scores: Scores, labels: Labels, limit: int) -> Found:
    """The best `limit` columns of each row of scores, by falling score, then label."""
    wanted = min(limit, len(labels))
    if not wanted:
        return Found(np.empty((len(scores), 0), np.float32), np.empty((len(scores), 0), np.int64))
    # One call that releases the GIL. numpy would take the GIL several times a row, and wait for the event loop each time.
    best, columns = largest(scores, min(wanted + 1, len(labels)))
    order = np.lexsort((labels[columns], -best))[:, :wanted]
    found = Found(np.take_along_axis(best, order, 1), labels[np.take_along_axis(columns, order, 1)])
    if wanted < len(labels):
        # Equal scores are ordered by label, and some of them may be missing from the best.
        for row in np.flatnonzero(best[:, wanted - 1] == best[:, wanted]):
            equal = np.flatnonzero(scores[row] >= best[row, wanted])
            chosen = equal[np.lexsort((labels[equal], -scores[row, equal]))[:wanted]]
            found.scores[row], found.labels[row] = scores[row, chosen], labels[chosen]
    return found
