"""A gallery's store and index side by side, and the vectors that both should hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from askew_server.gallery.index_manager import OpenIndex
from askew_server.index.types import Labels, Neighbours, Vectors
from askew_server.storage.items import Change, ItemBatch, SqliteItemStore


class IndexedItems:
    """Items whose changes go to the store first and then to the index, as Gallery does it.

    `vectors`: what a search may find, float32 [D] by label. `labels`: the label of each item's id.
    """

    def __init__(self, folder: Path, dim: int, open_index: OpenIndex) -> None:
        self.store = SqliteItemStore(folder)
        if self.store.fact("sequence") is None:
            self.store.begin({"dim": str(dim)})
        self.index = open_index("objects", self.store, dim)
        stored = self.store.labels()
        self.labels = {item_id: label for label, item_id, _, _ in self.store.candidates(stored.tolist())}
        self.vectors: dict[int, Vectors] = {}
        for labels, vectors in self.store.vectors_of(stored, dim):
            self.vectors.update(zip(labels.tolist(), vectors, strict=True))

    def upsert(self, ids: Sequence[str], vectors: Vectors) -> Labels:
        """Insert or replace items in the store and in the index; their labels."""
        change = self.write(ids, vectors)
        self.index.add(change.added, change.vectors)
        self.index.remove(change.removed)
        return change.added

    def delete(self, ids: Sequence[str]) -> None:
        """Delete items from the store and from the index."""
        self.index.remove(self.unwrite(ids).removed)

    def write(self, ids: Sequence[str], vectors: Vectors) -> Change:
        """Insert or replace items in the store alone, as if the process had ended before the index knew."""
        change = self.store.upsert(ItemBatch(list(ids), vectors.astype(np.float16), ["{}"] * len(ids)))
        for label in change.removed.tolist():
            del self.vectors[label]
        self.vectors.update(zip(change.added.tolist(), change.vectors, strict=True))
        self.labels.update(zip(ids, change.added.tolist(), strict=True))
        return change

    def unwrite(self, ids: Sequence[str]) -> Change:
        """Delete items from the store alone."""
        change = self.store.delete(ids)
        for item_id in ids:
            del self.vectors[self.labels.pop(item_id)]
        return change

    def search(
        self, queries: Vectors, wanted: int, allowed: Labels | None = None, *, exact: bool = False
    ) -> Neighbours:
        """One search, in a new event loop."""
        return asyncio.run(self.index.search(queries, wanted, allowed, exact))

    def close(self) -> None:
        self.index.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
