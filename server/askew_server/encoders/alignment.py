"""Measure on probe photos how well a candidate's vectors align with the teacher's.

This does not read the gallery's vectors; it searches the gallery's index, a few queries at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_server.index.types import Vectors

RECALL_AT = (1, 10)
MAX_QUERIES = 8
"""Queries in one call of the index; few, so that other searches get their turn."""

_SAME = 1 - 1e-4
"""Two photos count as the same for the teacher if their vectors have at least this score."""

_SPARE_HITS = 6
_MAX_HITS = 1_000


@dataclass(frozen=True)
class GateProbe:
    """A photo that candidates describe, and the teacher's vector of it, float32 [D] of unit length.

    `item`: the id of the item that the photo belongs to; None for a photo of the probe set.
    """

    photo: Path
    vector: NDArray[np.float32]
    item: str | None


@dataclass(frozen=True)
class Hits:
    """The items nearest to each query: (id, score) by falling score, and whether the index is exact."""

    rows: list[list[tuple[str, float]]]
    exact: bool


Nearest = Callable[[Vectors, int], Hits]
"""nearest(queries, count): the `count` items of the gallery nearest to each query, float32 [n, D]; all if it has fewer."""


@dataclass(frozen=True)
class Alignment:
    """How well a candidate agrees with the teacher. Shares are means over the probes.

    `own`: float64 [p], the score of each probe with its own teacher vector. `best_other`: float64 [q], each probe's
    best score with any other item. `others`: float64, scores with the teacher's vectors of the other probes. `recall`:
    by k, left out where the gallery has fewer than k other items.
    """

    own: NDArray[np.float64]
    best_other: NDArray[np.float64]
    others: NDArray[np.float64]
    self_recall_at_1: float
    recall: dict[int, float]
    compared_items: int
    exact: bool


_Key = tuple[str, str]


def measure_alignment(probes: Sequence[GateProbe], candidate: Vectors, nearest: Nearest, items: int) -> Alignment:
    """Compare a candidate's vectors of the probes, float32 [p, D], with the teacher's.

    `items`: how many items the gallery has. The photos of a probe set are treated like items, too. An item with the same
    teacher vector as a probe counts neither for nor against the candidate.
    """
    # A vector with values that are not finite has no direction, so it must not score.
    candidate = np.nan_to_num(candidate, nan=0.0, posinf=0.0, neginf=0.0)
    pool = _Pool(probes, nearest)
    compared = items + (0 if probes[0].item else len(probes)) - 1
    best_other, found_itself, shares = [], [], {k: list[float]() for k in RECALL_AT}
    own = np.einsum("pd,pd->p", candidate.astype(np.float64), pool.vectors)
    for start in range(0, len(probes), MAX_QUERIES):
        chosen = range(start, min(start + MAX_QUERIES, len(probes)))
        truths = pool.of_teacher(chosen)
        wanted = max(RECALL_AT) + max(len(same) for _, same in truths)
        for index, (truth, same), hits in zip(chosen, truths, pool.hits(candidate[chosen], wanted), strict=True):
            found = [(key, score) for key, score in hits if key not in same]
            if found:
                best_other.append(found[0][1])
            # Ties count against the candidate.
            found_itself.append(not found or own[index] > found[0][1])
            for k in RECALL_AT:
                if len(truth) >= k:
                    shares[k].append(len(set(truth[:k]) & {key for key, _ in found[:k]}) / k)
    scores = candidate.astype(np.float64) @ pool.vectors.T
    return Alignment(
        own=own,
        best_other=np.array(best_other, dtype=np.float64),
        others=scores[~np.eye(len(probes), dtype=bool)],
        self_recall_at_1=float(np.mean(found_itself)),
        recall={k: float(np.mean(each)) for k, each in shares.items() if each},
        compared_items=compared,
        exact=pool.exact,
    )


class _Pool:
    """What is searched: the gallery's items, and the probes that are not items."""

    def __init__(self, probes: Sequence[GateProbe], nearest: Nearest) -> None:
        self.vectors = np.stack([probe.vector for probe in probes]).astype(np.float64)
        self.exact = True
        self._nearest = nearest
        self._keys: list[_Key] = [
            ("probe", str(index)) if probe.item is None else ("item", probe.item) for index, probe in enumerate(probes)
        ]

    def hits(self, queries: Vectors, limit: int) -> list[list[tuple[_Key, float]]]:
        """The nearest to each query, by falling score."""
        found = self._nearest(queries, limit)
        self.exact = self.exact and found.exact
        rows: list[list[tuple[_Key, float]]] = [[(("item", item), score) for item, score in row] for row in found.rows]
        for row, scores in zip(rows, queries.astype(np.float64) @ self.vectors.T, strict=True):
            row += [(key, float(score)) for key, score in zip(self._keys, scores, strict=True) if key[0] == "probe"]
            row.sort(key=lambda hit: (-hit[1], hit[0]))
        return [row[:limit] for row in rows]

    def of_teacher(self, chosen: range) -> list[tuple[list[_Key], set[_Key]]]:
        """For each probe, by its teacher vector: the nearest others, and those with the same teacher vector."""
        queries = self.vectors[chosen].astype(np.float32)
        limit = max(RECALL_AT) + _SPARE_HITS
        while True:
            rows = self.hits(queries, limit)
            is_cut = any(len(row) == limit and row[-max(RECALL_AT)][1] > _SAME for row in rows)
            if not is_cut or limit >= _MAX_HITS:
                break
            limit = min(4 * limit, _MAX_HITS)
        truths = []
        for index, row in zip(chosen, rows, strict=True):
            same = {key for key, score in row if score > _SAME} | {self._keys[index]}
            truths.append(([key for key, _ in row if key not in same][: max(RECALL_AT)], same))
        return truths
