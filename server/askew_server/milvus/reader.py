"""Reads of a gallery's items in Milvus. Every read is a call over the network; any number of threads may read.

There are no snapshots: what one request reads with two calls may differ by a write in between, as in any two requests.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from askew_server.index.types import Allowed, Expression
from askew_server.milvus.collection import MilvusCollection
from askew_server.milvus.conditions import EVERYTHING, both, has_id, has_label, is_after
from askew_server.milvus.rows import Row, stored_vector
from askew_server.storage.errors import ValueTooLarge
from askew_server.storage.photos import photo_member
from askew_server.storage.reader import Candidate, ItemRow, StoredRow

LABELS_AT_ONCE = 5_000
"""Labels in one expression."""
_ITEMS_AT_ONCE = 256
_PAGE = 1_000
_PHOTOS_TOLD = 10_000


class MilvusReader:
    """An ItemReader (storage/port.py) of one collection. Methods raise Refusal (not-ready), AskewError."""

    def __init__(self, collection: MilvusCollection, folder: Path) -> None:
        """`folder`: the gallery's, with its photos."""
        self.folder = folder
        self._collection = collection
        self._vector = collection.vector

    def close(self) -> None:
        """Nothing of it is open: the connection is its store's."""

    @property
    def sequence(self) -> int:
        """See ItemReader: the time of the last change by this server, in microseconds."""
        return self._collection.connection.changed

    def snapshot(self) -> AbstractContextManager[None]:
        """See ItemReader; there are none in Milvus."""
        return nullcontext()

    def item(self, item_id: str) -> ItemRow | None:
        """See ItemReader."""
        rows = self._collection.query(has_id([item_id]), ["label", "photo", "payload", self._vector])
        return self._item(rows[0]) if rows else None

    def stored(self, item_id: str, *, vectors: bool) -> StoredRow | None:
        """See ItemReader."""
        rows = self._collection.query(has_id([item_id]), self._columns(vectors=vectors))
        return self._stored(rows[0]) if rows else None

    def page(self, after: str, limit: int, among: Allowed | None = None) -> list[ItemRow]:
        """See ItemReader."""
        rows = self._in_order(after, limit, among, ["label", "photo", "payload", self._vector])
        return [self._item(row) for row in rows]

    def each_stored(
        self, after: str, limit: int, among: Allowed | None = None, *, vectors: bool
    ) -> Generator[StoredRow, None, None]:
        """See ItemReader."""
        for row in self._in_order(after, limit, among, self._columns(vectors=vectors)):
            yield self._stored(row)

    def candidates(self, labels: Sequence[int]) -> list[Candidate]:
        """See ItemReader."""
        return list(self.each_candidate(labels, payloads=False, vectors=True))

    def few_candidates(self, labels: Sequence[int], *, vectors: bool) -> list[Candidate]:
        """See ItemReader."""
        return list(self.each_candidate(labels, payloads=True, vectors=vectors))

    def candidates_in_parts(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool, largest: int | None
    ) -> Iterator[list[Candidate]]:
        """See ItemReader. A value that is too large is read, but not kept."""
        columns = ["label", *(["payload"] if payloads else []), *([self._vector] if vectors else [])]
        for start in range(0, len(labels), _ITEMS_AT_ONCE):
            rows = self._collection.query(has_label(labels[start : start + _ITEMS_AT_ONCE]), columns)
            part = [self._candidate(row) for row in rows]
            if largest is not None and any(len(payload) > largest for _, _, payload, _ in part):
                raise ValueTooLarge(f"a payload of more than {largest} bytes")
            yield part

    def each_candidate(
        self, labels: Sequence[int], *, payloads: bool, vectors: bool
    ) -> Generator[Candidate, None, None]:
        """See ItemReader."""
        for part in self.candidates_in_parts(labels, payloads=payloads, vectors=vectors, largest=None):
            yield from part

    def unknown_ids(self, ids: Sequence[str]) -> list[str]:
        """See ItemReader."""
        asked = list(dict.fromkeys(ids))
        known = self.known(asked)
        return [item_id for item_id in asked if item_id not in known]

    def known(self, ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        """Label and photo of the items among these ids that exist, by id."""
        found: dict[str, tuple[int, str | None]] = {}
        for start in range(0, len(ids), _PAGE):
            rows = self._collection.query(has_id(ids[start : start + _PAGE]), ["label", "photo"])
            found |= {row["id"]: (row["label"], row["photo"] or None) for row in rows}
        return found

    def count(self, among: Allowed) -> int:
        """See ItemReader."""
        if isinstance(among, Expression):
            return self._collection.count(among)
        labels = among.tolist()
        parts = (labels[start : start + LABELS_AT_ONCE] for start in range(0, len(labels), LABELS_AT_ONCE))
        return sum(self._collection.count(has_label(part)) for part in parts)

    def counts(self) -> tuple[int, int]:
        """See ItemReader. Items without a photo are counted in one step, whatever is written meanwhile."""
        items, without_photo = self._collection.count(EVERYTHING), self._collection.count(Expression('photo == ""'))
        return items, max(0, items - without_photo)

    def items_with_photo(self) -> list[tuple[int, str]]:
        """See ItemReader: up to 10,000 of them, the first ones by id."""
        rows = self._in_order("", _PHOTOS_TOLD, Expression('photo != ""'), ["label", "photo"])
        return sorted((row["label"], row["photo"]) for row in rows)

    def photo_path(self, photo: str) -> Path:
        """See ItemReader."""
        return self.folder / photo_member(photo)

    def walk(self, expression: Expression, columns: list[str]) -> Iterator[Row]:
        """The rows that an expression selects, in the order of ids."""
        after = ""
        while rows := self.ordered(expression, after, _PAGE, columns):
            yield from rows
            if len(rows) < _PAGE:
                return
            after = rows[-1]["id"]

    def ordered(self, expression: Expression, after: str, limit: int, columns: list[str]) -> list[Row]:
        """Up to `limit` rows in the order of ids, the first ones after an id."""
        return self._collection.first(both(expression, is_after(after)), columns, limit)

    def is_any(self, expression: Expression) -> bool:
        """Whether an expression selects any row."""
        return bool(self._collection.query(expression, ["label"], limit=1))

    def _in_order(self, after: str, limit: int, among: Allowed | None, columns: list[str]) -> list[Row]:
        if among is None or isinstance(among, Expression):
            rows: list[Row] = []
            while len(rows) < limit:
                wanted = min(_PAGE, limit - len(rows))
                part = self.ordered(among or EVERYTHING, rows[-1]["id"] if rows else after, wanted, columns)
                rows += part
                if len(part) < wanted:
                    break
            return rows
        labels = among.tolist()
        parts = [labels[start : start + LABELS_AT_ONCE] for start in range(0, len(labels), LABELS_AT_ONCE)]
        found = (self._in_order(after, limit, has_label(part), columns) for part in parts)
        return heapq.nsmallest(limit, (row for part in found for row in part), key=lambda row: str(row["id"]))

    def _columns(self, *, vectors: bool) -> list[str]:
        return ["payload", "photo", *([self._vector] if vectors else [])]

    def _item(self, row: Row) -> ItemRow:
        return ItemRow(
            row["label"], row["id"], json.loads(row["payload"]), row["photo"] or None, stored_vector(row[self._vector])
        )

    def _stored(self, row: Row) -> StoredRow:
        vector = row.get(self._vector)
        return (
            row["id"],
            row["payload"].encode(),
            row["photo"] or None,
            b"" if vector is None else stored_vector(vector),
        )

    def _candidate(self, row: Row) -> Candidate:
        vector = row.get(self._vector)
        return (
            row["label"],
            row["id"],
            row.get("payload", "").encode(),
            b"" if vector is None else stored_vector(vector),
        )
