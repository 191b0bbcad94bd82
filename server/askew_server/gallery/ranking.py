"""Turn the labels that an index found into hits: score them from the stored vectors, order and select them.

Scores are computed in float64 and rounded to 1e-6; hits are ordered by falling score, then id. So a query gets the same
scores alone and in a batch, and with any kind of index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.filters import Scalar
from askew_server.index.types import Neighbours, Vectors
from askew_server.storage.predicates import read_payload, value_at
from askew_server.storage.reader import Candidate, GalleryReader

SCORE_DECIMALS = 6


class FoundItem(NamedTuple):
    """An item found: `payload` as JSON text, `group` its value of the grouping field.

    `falling`: the negated score, so that tuples sort like hits. `vector`: little-endian float16; empty if it was not
    read because the index returned the score and the caller does not want the vector.
    """

    falling: float
    id: str
    payload: str
    vector: bytes
    group: Scalar | None = None

    @property
    def score(self) -> float:
        """The inner product with the query, in [-1, 1]."""
        return 0.0 - self.falling


def ranked(candidates: Sequence[Candidate], query: NDArray[np.float32]) -> list[FoundItem]:
    """Score candidates against a query, float32 [D], and order them."""
    if not candidates:
        return []
    _, ids, payloads, vectors = zip(*candidates, strict=True)
    stored = np.frombuffer(b"".join(vectors), dtype="<f2").astype(np.float64)
    scores = stored.reshape(len(vectors), -1) @ query.astype(np.float64)
    return sorted(map(FoundItem._make, zip(_falling(scores), ids, payloads, vectors, repeat(None), strict=False)))


def items_of(
    reader: GalleryReader, vectors: Vectors, found: Neighbours, *, with_vectors: bool
) -> tuple[list[list[FoundItem]], list[bool]]:
    """The ranked items of each query, float32 [n, D], and whether these are all items that a search could find.

    Labels that are no longer in the database are skipped: their items were changed or deleted since the search.
    """
    items, saw_all = [], []
    for position, row in enumerate(found.labels):
        labels = row[row >= 0].tolist()
        if found.scores is None or with_vectors:
            items.append(ranked(reader.candidates(labels), vectors[position]))
        else:
            items.append(_ordered(reader.payloads(labels), labels, found.scores[position]))
        saw_all.append(len(labels) < len(row) or len(row) >= found.available)
    return items, saw_all


def _ordered(
    rows: Sequence[tuple[int, str, str]], labels: Sequence[int], scores: NDArray[np.float64]
) -> list[FoundItem]:
    """Items from rows of label, id and payload, ordered by the scores of their labels."""
    falling = dict(zip(labels, _falling(scores), strict=True))
    return sorted([FoundItem(falling[label], item_id, payload, b"") for label, item_id, payload in rows])


def _falling(scores: NDArray[np.float64]) -> list[float]:
    # numpy's clip takes three times as long for a few numbers.
    rounded: list[float] = (-np.round(np.minimum(np.maximum(scores, -1.0), 1.0), SCORE_DECIMALS)).tolist()
    return rounded


@dataclass(frozen=True, slots=True)
class Choice:
    """Chooses hits among ranked items: the first `limit` that are not excluded and reach the threshold."""

    limit: int
    threshold: float | None = None
    excluded: frozenset[str] = frozenset()

    @property
    def wanted(self) -> int:
        """How many of the nearest items to fetch first."""
        return self.limit + len(self.excluded)

    def hits(self, items: list[FoundItem]) -> list[FoundItem]:
        """The hits among ranked items, in the same order."""
        if self.excluded:
            items = [item for item in items if item.id not in self.excluded]
        chosen = items[: self.limit]
        if self.threshold is not None:
            chosen = [item for item in chosen if item.score >= self.threshold]
        return chosen

    def is_complete(self, items: list[FoundItem], hits: list[FoundItem]) -> bool:
        """Whether no item beyond the fetched ones can be a hit.

        An item beyond them may have the same score as the last one fetched, and a smaller id.
        """
        if not items:
            return False
        if self.threshold is not None and items[-1].score < self.threshold:
            return True
        return len(hits) == self.limit and items[-1].falling > hits[-1].falling


@dataclass(slots=True)
class Groups:
    """Groups hits by the value of a payload field: at most `limit` groups with at most `size` hits each."""

    path: tuple[str, ...]
    choice: Choice
    size: int
    _by_value: dict[tuple[bool, Scalar], list[FoundItem]] = field(default_factory=dict)

    def take(self, items: list[FoundItem]) -> None:
        """Add ranked items to their groups; new groups are created up to the limit."""
        for item in items:
            value = value_at(read_payload(item.payload), self.path)
            if item.id in self.choice.excluded or not isinstance(value, bool | int | float | str):
                continue
            if self.choice.threshold is not None and item.score < self.choice.threshold:
                return
            # True and 1 would be the same dictionary key.
            members = self._by_value.get((isinstance(value, bool), value))
            if members is None:
                if len(self._by_value) == self.choice.limit:
                    continue
                members = self._by_value.setdefault((isinstance(value, bool), value), [])
            found = item._replace(group=value)
            if len(members) < self.size and found not in members:
                members.append(found)

    @property
    def values(self) -> list[Scalar]:
        """The values that have a group."""
        return [value for _, value in self._by_value]

    @property
    def open_values(self) -> list[Scalar]:
        """The values whose groups are not full."""
        return [value for (_, value), members in self._by_value.items() if len(members) < self.size]

    @property
    def is_full(self) -> bool:
        """Whether the maximum number of groups is reached."""
        return len(self._by_value) == self.choice.limit

    def hits(self) -> list[FoundItem]:
        """The members of all groups by falling score, then id."""
        return sorted((item for members in self._by_value.values() for item in members), key=lambda item: item[:2])
