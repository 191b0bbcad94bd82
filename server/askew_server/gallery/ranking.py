"""Turn the labels that an index found into hits: score them from the stored vectors, order and select them.

Scores are computed in float64 and rounded to 1e-6; hits are ordered by falling score, then id. So a query gets the same
scores alone and in a batch, and with any kind of index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.filters.conditions import Scalar
from askew_server.index.types import Neighbours, Vectors
from askew_server.storage.filtering.predicates import read_payload, value_at
from askew_server.storage.port import ItemReader
from askew_server.storage.reader import Candidate

SCORE_DECIMALS = 6

_LARGEST_IN_PARTS = 8 * 1024
"""Bytes of a payload that is read together with hundreds of others: at most 4 MB."""


class FoundItem(NamedTuple):
    """An item found: `payload` as JSON, None if it was not read; `group` its value of the grouping field.

    `falling`: the negated score, so that tuples sort like hits. `vector`: little-endian float16; empty if the caller does
    not want it.
    """

    falling: float
    id: str
    label: int
    payload: bytes | None = None
    vector: bytes = b""
    group: Scalar | None = None

    @property
    def score(self) -> float:
        """The inner product with the query, in [-1, 1]."""
        return 0.0 - self.falling


class PayloadsTooLarge(Exception):
    """The payloads of the items found take more bytes than a reading may keep."""


class Reading(Protocol):
    """What is read of items that were found, besides their ids and scores.

    `needs_payload`: whether `keep` is called with payloads; else with empty ones.
    """

    needs_payload: bool

    def keep(self, payload: bytes) -> tuple[bytes | None, Scalar | None]:
        """What to keep of an item: its payload, and its value of the grouping field. May raise, to end the reading."""


class NoPayloads:
    """Reads no payloads."""

    needs_payload = False

    def keep(self, payload: bytes) -> tuple[bytes | None, Scalar | None]:
        """See Reading."""
        return None, None


class SmallPayloads:
    """Reads payloads as long as they take at most `limit` bytes together. Raises PayloadsTooLarge."""

    needs_payload = True

    def __init__(self, limit: int, *, at_once: bool) -> None:
        """`at_once`: all rows in one step, for a reader that refuses large values."""
        self.at_once = at_once
        self._left = limit

    def take(self, count: int) -> None:
        """Count bytes that were read."""
        self._left -= count
        if self._left < 0:
            raise PayloadsTooLarge

    def keep(self, payload: bytes) -> tuple[bytes | None, Scalar | None]:
        """See Reading."""
        self.take(len(payload))
        return payload, None


class GroupValues:
    """Reads each item's value at a path in its payload, and drops the payload."""

    needs_payload = True

    def __init__(self, path: Sequence[str], limit: int) -> None:
        """`limit`: bytes that the values may take together. `keep` raises PayloadsTooLarge beyond."""
        self._path = path
        self._left = limit

    def keep(self, payload: bytes) -> tuple[bytes | None, Scalar | None]:
        """See Reading."""
        value = value_at(read_payload(payload.decode()), self._path)
        if isinstance(value, str):
            self._left -= len(value)
            if self._left < 0:
                raise PayloadsTooLarge
            return None, value
        return None, value if isinstance(value, bool | int | float) else None


_make_item = partial(tuple.__new__, FoundItem)
"""Makes a FoundItem of all its members in half the time of calling the class."""


def ranked(candidates: Sequence[Candidate], query: NDArray[np.float32]) -> list[FoundItem]:
    """Score candidates, which have their vectors, against a query, float32 [D], and order them."""
    falling = _falling_of([vector for _, _, _, vector in candidates], query)
    return sorted(
        [
            FoundItem(score, item_id, label, None, vector)
            for score, (label, item_id, _, vector) in zip(falling, candidates, strict=True)
        ]
    )


def items_of(
    reader: ItemReader, vectors: Vectors, found: Neighbours, reading: Reading, *, with_vectors: bool
) -> tuple[list[list[FoundItem]], list[bool]]:
    """The ranked items of each query, float32 [n, D], and whether these are all items that a search could find.

    Labels that are no longer in the database are skipped: their items were changed or deleted since the search.
    Raises PayloadsTooLarge, ValueTooLarge.
    """
    items, saw_all = [], []
    for position, row in enumerate(found.labels):
        labels = row[row >= 0].tolist()
        scores = None if found.scores is None or with_vectors else found.scores[position]
        ordered = _ranked_rows(reader, labels, scores, vectors[position], reading)
        # A batch has many hits, and a vector takes kilobytes.
        items.append(ordered if with_vectors or scores is not None else [item._replace(vector=b"") for item in ordered])
        saw_all.append(len(labels) < len(row) or len(row) >= found.available)
    return items, saw_all


def _ranked_rows(
    reader: ItemReader,
    labels: Sequence[int],
    scores: NDArray[np.float64] | None,
    query: NDArray[np.float32],
    reading: Reading,
) -> list[FoundItem]:
    """The items of these labels, ordered by their scores, which are computed from the stored vectors if they are None."""
    known = {} if scores is None else dict(zip(labels, _falling(scores), strict=True))
    if isinstance(reading, SmallPayloads) and reading.at_once:
        rows = reader.few_candidates(labels, vectors=scores is None)
        reading.take(sum([len(payload) for _, _, payload, _ in rows]))
        items = [
            _make_item((known.get(label, 0.0), item_id, label, payload, vector, None))
            for label, item_id, payload, vector in rows
        ]
        return sorted(items) if scores is not None else _scored(items, query)
    if isinstance(reading, SmallPayloads):
        return _ordered_in_parts(reader, labels, known, query, reading.take, with_scores=scores is not None)
    if isinstance(reading, NoPayloads):
        return _ordered_in_parts(reader, labels, known, query, None, with_scores=scores is not None)
    items = []
    with closing(reader.each_candidate(labels, payloads=reading.needs_payload, vectors=scores is None)) as candidates:
        for label, item_id, payload, vector in candidates:
            kept, group = reading.keep(payload)
            items.append(FoundItem(known.get(label, 0.0), item_id, label, kept, vector, group))
    return sorted(items) if scores is not None else _scored(items, query)


def _ordered_in_parts(
    reader: ItemReader,
    labels: Sequence[int],
    known: dict[int, float],
    query: NDArray[np.float32],
    take: Callable[[int], None] | None,
    *,
    with_scores: bool,
) -> list[FoundItem]:
    """See _ranked_rows. `take`: counts the bytes of payloads; None: none are read. Raises ValueTooLarge if one is large."""
    items: list[FoundItem] = []
    parts = reader.candidates_in_parts(
        labels, payloads=take is not None, vectors=not with_scores, largest=None if take is None else _LARGEST_IN_PARTS
    )
    for rows in parts:
        if take is None:
            items += [
                _make_item((known.get(label, 0.0), item_id, label, None, vector, None))
                for label, item_id, _, vector in rows
            ]
        else:
            take(sum([len(payload) for _, _, payload, _ in rows]))
            items += [
                _make_item((known.get(label, 0.0), item_id, label, payload, vector, None))
                for label, item_id, payload, vector in rows
            ]
    return sorted(items) if with_scores else _scored(items, query)


def _scored(items: list[FoundItem], query: NDArray[np.float32]) -> list[FoundItem]:
    """Items, which have their vectors, scored against a query, float32 [D], and ordered."""
    falling = _falling_of([item.vector for item in items], query)
    return sorted([item._replace(falling=score) for item, score in zip(items, falling, strict=True)])


def _falling_of(vectors: Sequence[bytes], query: NDArray[np.float32]) -> list[float]:
    """The negated scores of stored vectors against a query, float32 [D]."""
    if not vectors:
        return []
    stored = np.frombuffer(b"".join(vectors), dtype="<f2").astype(np.float64)
    return _falling(stored.reshape(len(vectors), -1) @ query.astype(np.float64))


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
    """Groups hits by their `group`, the value of a payload field: at most `limit` groups with at most `size` hits each."""

    choice: Choice
    size: int
    _by_value: dict[tuple[bool, Scalar], list[FoundItem]] = field(default_factory=dict)

    def take(self, items: list[FoundItem]) -> None:
        """Add ranked items to their groups; new groups are created up to the limit."""
        for item in items:
            value = item.group
            if item.id in self.choice.excluded or value is None:
                continue
            if self.choice.threshold is not None and item.score < self.choice.threshold:
                return
            # True and 1 would be the same dictionary key.
            members = self._by_value.get((isinstance(value, bool), value))
            if members is None:
                if len(self._by_value) == self.choice.limit:
                    continue
                members = self._by_value.setdefault((isinstance(value, bool), value), [])
            if len(members) < self.size and item not in members:
                members.append(item)

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
