"""Splits many items into requests that are small enough for a server."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from askew_client.calls.bodies import check_rows, check_vectors
from askew_client.calls.call import as_json
from askew_client.calls.vectors import array_of, numbers_of
from askew_client.contract.common import Payload
from askew_client.contract.errors import WireError
from askew_client.contract.items import MAX_DELETED, MAX_RAW_BATCH, UpsertAnswer
from askew_client.contract.problems import ProblemKind

BATCH_BYTES = 8_000_000
"""Bytes of vectors and payloads in one request, about: a quarter of what a server accepts by default."""

NewItem = tuple[str, ArrayLike, Payload]
"""An item to store: its id, its [D] unit vector, its payload."""
Items = Iterable[NewItem]
AsyncItems = Iterable[NewItem] | AsyncIterable[NewItem]


@dataclass
class ItemBatch:
    """The items of one request. `vectors`: float32 [D] each, all with the same D. `size`: bytes, about."""

    max_bytes: int = BATCH_BYTES
    ids: list[str] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    size: int = 0

    def add(self, item: NewItem) -> bool:
        """Add an item and return True, or return False if the batch is full. An empty batch takes any item.

        Raises WireError for a vector of another length than the first.
        """
        name, given, payload = item
        vector = numbers_of(given)
        expected = self.vectors[0].shape if self.vectors else (vector.size,)
        if vector.shape != expected:
            raise WireError(
                ProblemKind.DIMENSION_MISMATCH,
                f"Expected a vector of {expected[0]} values for {name[:80]!r}, got an array of shape "
                f"{list(vector.shape)}.",
            )
        # A vector is sent as float16.
        size = 2 * vector.size + len(as_json(payload).encode()) + len(name)
        if self.ids and (len(self.ids) == MAX_RAW_BATCH or self.size + size > self.max_bytes):
            return False
        self.ids.append(name)
        self.vectors.append(vector)
        self.payloads.append(payload)
        self.size += size
        return True


def items_of(ids: Sequence[str], vectors: ArrayLike, payloads: Sequence[Payload] | None) -> Iterator[NewItem]:
    """Items one by one, out of three columns. All are checked before the first one is returned.

    `vectors`: [n, D] unit vectors. Raises ValueError if the columns differ in length or are empty, WireError.
    """
    rows = array_of(vectors)
    count = len(rows) if rows.ndim else 1
    given = payloads if payloads is not None else [{} for _ in ids]
    if not len(ids) == count == len(given) or not ids:
        raise ValueError(
            f"expected the same number of ids, vectors and payloads, at least one; got {len(ids)}, {count} and "
            f"{len(given)}"
        )
    check_rows(rows)
    check_vectors(rows, ids)
    return zip(ids, rows, given, strict=True)


def item_batches(items: Items, *, max_bytes: int = BATCH_BYTES) -> Iterator[ItemBatch]:
    """Group items into batches of one request each. Raises ValueError if there are no items, WireError."""
    batch = ItemBatch(max_bytes)
    for item in items:
        if not batch.add(item):
            yield batch
            batch = _batch_of(item, max_bytes)
    yield _not_empty(batch)


async def async_item_batches(items: AsyncItems, *, max_bytes: int = BATCH_BYTES) -> AsyncIterator[ItemBatch]:
    """As item_batches, also for items that come from an asynchronous iterator."""
    if isinstance(items, Iterable):
        for each in item_batches(items, max_bytes=max_bytes):
            yield each
        return
    batch = ItemBatch(max_bytes)
    async for item in items:
        if not batch.add(item):
            yield batch
            batch = _batch_of(item, max_bytes)
    yield _not_empty(batch)


def id_batches(ids: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    """Group ids, each once, into batches of one request each. Without ids (a filter names the items): None, once.

    Raises ValueError if `ids` is empty.
    """
    if ids is None:
        yield None
        return
    if not ids:
        raise ValueError("expected at least one id, got none")
    # Named in two requests, an id would be counted twice, or be unknown to the second one.
    distinct = list(dict.fromkeys(ids))
    for start in range(0, len(distinct), MAX_DELETED):
        yield distinct[start : start + MAX_DELETED]


def total(answers: Sequence[UpsertAnswer]) -> UpsertAnswer:
    """One answer for several requests: the sum of the stored items and the last sequence number."""
    return UpsertAnswer(upserted=sum(each.upserted for each in answers), sequence=answers[-1].sequence)


def _batch_of(item: NewItem, max_bytes: int) -> ItemBatch:
    batch = ItemBatch(max_bytes)
    batch.add(item)
    return batch


def _not_empty(batch: ItemBatch) -> ItemBatch:
    if not batch.ids:
        raise ValueError("expected at least one item, got none")
    return batch
