"""Many items in requests of a size that a server takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from askew_client.calls.bodies import check_vectors
from askew_client.contract.common import Payload
from askew_client.contract.errors import WireError
from askew_client.contract.items import MAX_DELETED, MAX_RAW_BATCH, UpsertAnswer
from askew_client.contract.problems import ProblemKind

BATCH_BYTES = 8_000_000
"""Bytes of vectors and payloads that travel in one request, about: a quarter of what a server takes by default."""

NewItem = tuple[str, NDArray[np.float32], Payload]
"""An item to store: its id, its float32 [D] unit vector, its payload."""


@dataclass
class ItemBatch:
    """The items of one request. `vectors`: [D] each, of one length."""

    ids: list[str] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    size: int = 0

    def takes(self, item: NewItem) -> bool:
        """Add an item; False, and it is not added, when the batch is full. Raises WireError for another length."""
        name, vector, payload = item
        expected = self.vectors[0].shape if self.vectors else (vector.size,)
        if vector.shape != expected:
            raise WireError(
                ProblemKind.DIMENSION_MISMATCH,
                f"Expected a vector of {expected[0]} values for {name[:80]!r}, got an array of shape {list(vector.shape)}.",
            )
        # A vector travels as float16.
        size = 2 * vector.size + len(json.dumps(payload)) + len(name)
        if self.ids and (len(self.ids) == MAX_RAW_BATCH or self.size + size > BATCH_BYTES):
            return False
        self.ids.append(name)
        self.vectors.append(vector)
        self.payloads.append(payload)
        self.size += size
        return True


def items_of(ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload] | None) -> Iterator[NewItem]:
    """Items in columns, one by one; all are checked before the first one comes. Raises ValueError, WireError."""
    kept = payloads if payloads is not None else [{} for _ in ids]
    if not len(ids) == len(vectors) == len(kept) or not ids:
        raise ValueError(
            f"expected as many ids, vectors and payloads, one at least; got {len(ids)}, {len(vectors)} and {len(kept)}"
        )
    if vectors.ndim != 2:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH, f"Expected vectors, [n, D], got an array of shape {list(vectors.shape)}."
        )
    check_vectors(vectors, ids)
    return zip(ids, vectors, kept, strict=True)


def item_batches(items: Iterable[NewItem]) -> Iterator[ItemBatch]:
    """Items by the request. Raises ValueError when there is none, WireError."""
    batch = ItemBatch()
    for item in items:
        if not batch.takes(item):
            yield batch
            batch = _batch_of(item)
    yield _not_empty(batch)


async def async_item_batches(items: Iterable[NewItem] | AsyncIterable[NewItem]) -> AsyncIterator[ItemBatch]:
    """As item_batches, also for items that are waited for."""
    if isinstance(items, Iterable):
        for each in item_batches(items):
            yield each
        return
    batch = ItemBatch()
    async for item in items:
        if not batch.takes(item):
            yield batch
            batch = _batch_of(item)
    yield _not_empty(batch)


def id_batches(ids: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    """Ids by the request; None once, where a condition says which items are meant. Raises ValueError when empty."""
    if ids is None:
        yield None
        return
    if not ids:
        raise ValueError("expected at least one id")
    for start in range(0, len(ids), MAX_DELETED):
        yield ids[start : start + MAX_DELETED]


def total(answers: Sequence[UpsertAnswer]) -> UpsertAnswer:
    """What several requests stored together."""
    return UpsertAnswer(upserted=sum(each.upserted for each in answers), sequence=answers[-1].sequence)


def _batch_of(item: NewItem) -> ItemBatch:
    batch = ItemBatch()
    batch.takes(item)
    return batch


def _not_empty(batch: ItemBatch) -> ItemBatch:
    if not batch.ids:
        raise ValueError("expected at least one item")
    return batch
