"""Read one item, a page of items, their number, a vector or a photo, in the form that the API returns."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.filters.conditions import Filter
from askew_client.contract.items import CountItemsAnswer, Item, ItemPage
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.answer_size import AnswerSize
from askew_server.storage.photos import photo_sha256
from askew_server.storage.port import ItemFilter, ItemReader, ItemSelection
from askew_server.storage.reader import ItemRow, StoredRow
from askew_server.storage.vectors import unpack_vector

_BYTES_BESIDE = 150
"""Names of members and the digest of a photo, beside id, payload and vector."""


@dataclass(frozen=True, slots=True)
class ItemAsStored:
    """An item with its payload as JSON. `vector`: little-endian float16; empty if it was not asked for."""

    id: str
    payload: bytes
    photo_sha256: str | None
    vector: bytes


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of a listing. `unknown_fields`: those of the filter that no item of the gallery has."""

    items: list[ItemAsStored]
    next_cursor: str | None
    unknown_fields: list[str]


def find_item(reader: ItemReader, gallery: str, item_id: str, size: AnswerSize, *, with_vector: bool) -> ItemAsStored:
    """One item as it is stored. Raises Refusal (unknown-item, answer-too-large, overloaded)."""
    row = reader.stored(item_id, vectors=with_vector)
    if row is None:
        raise unknown_item(gallery, item_id)
    item = _as_stored(row)
    size.take(_bytes_of(item), 1.0)
    return item


def find_page(
    reader: ItemReader,
    cursor: str | None,
    limit: int,
    size: AnswerSize,
    selection: ItemSelection | None = None,
    *,
    with_vectors: bool,
) -> FoundPage:
    """One page of the items of a selection, or of all, sorted by id. Items are counted as they are read.

    A selection must be of the same snapshot of the reader. Raises Refusal: validation for an invalid cursor,
    answer-too-large, overloaded.
    """
    items: list[ItemAsStored] = []
    labels = None if selection is None else selection.chosen
    unknown = [] if selection is None else selection.unknown_fields
    with closing(reader.each_stored(_read_cursor(cursor), limit + 1, labels, vectors=with_vectors)) as rows:
        for row in rows:
            if len(items) == limit:
                return FoundPage(items, _write_cursor(items[-1].id), unknown)
            item = _as_stored(row)
            size.take(_bytes_of(item), (len(items) + 1) / limit)
            items.append(item)
    return FoundPage(items, None, unknown)


def read_page(
    reader: ItemReader,
    cursor: str | None,
    limit: int,
    selection: ItemSelection | None = None,
    *,
    with_vectors: bool,
) -> ItemPage:
    """One page of the items of a selection, or of all, sorted by id. Raises Refusal (validation) for an invalid cursor.

    A selection must be of the same snapshot of the reader.
    """
    labels = None if selection is None else selection.chosen
    rows = reader.page(_read_cursor(cursor), limit + 1, labels)
    following = _write_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return ItemPage(
        items=[_item(row, with_vectors) for row in rows[:limit]],
        next_cursor=following,
        unknown_fields=[] if selection is None else selection.unknown_fields,
    )


def count_items(
    reader: ItemReader,
    payload_filter: ItemFilter,
    ids: Sequence[str] | None = None,
    condition: Filter | None = None,
) -> CountItemsAnswer:
    """How many items have these ids or meet a condition, or all, as of one moment. Ids count before a condition.

    Raises Refusal (validation), as PayloadFilter.
    """
    with reader.snapshot():
        if ids is not None:
            return CountItemsAnswer(count=len(set(ids)) - len(reader.unknown_ids(ids)))
        if condition is None:
            return CountItemsAnswer(count=reader.counts()[0])
        selection = payload_filter.select(condition)
        return CountItemsAnswer(count=reader.count(selection.chosen), unknown_fields=selection.unknown_fields)


def vector_of(reader: ItemReader, gallery: str, item_id: str) -> NDArray[np.float32]:
    """The stored vector of an item, float32 [D]. Raises Refusal (unknown-item)."""
    row = reader.stored(item_id, vectors=True)
    if row is None:
        raise unknown_item(gallery, item_id)
    return unpack_vector(row[3])


def photo_of(reader: ItemReader, gallery: str, item_id: str) -> Path:
    """The file of an item's photo. Raises Refusal (unknown-item) for an unknown item, or one without a photo."""
    row = reader.stored(item_id, vectors=False)
    if row is None:
        raise unknown_item(gallery, item_id)
    photo = row[2]
    if photo is None:
        raise Refusal(ProblemKind.UNKNOWN_ITEM, f"Item {item_id[:200]!r} of gallery {gallery!r} has no photo.")
    return reader.photo_path(photo)


def unknown_item(gallery: str, item_id: str) -> Refusal:
    """The refusal for an id that the gallery does not have."""
    return Refusal(ProblemKind.UNKNOWN_ITEM, f"Gallery {gallery!r} has no item {item_id[:200]!r}.")


def _as_stored(row: StoredRow) -> ItemAsStored:
    item_id, payload, photo, vector = row
    return ItemAsStored(item_id, payload, None if photo is None else photo_sha256(photo), vector)


def _bytes_of(item: ItemAsStored) -> int:
    """The bytes of an item in an answer."""
    return _BYTES_BESIDE + len(item.id.encode()) + len(item.payload) + (len(item.vector) + 2) // 3 * 4


def _item(row: ItemRow, with_vector: bool) -> Item:
    return Item(
        id=row.id,
        payload=row.payload,
        has_photo=row.photo is not None,
        photo_sha256=row.photo_sha256,
        vector=base64.b64encode(row.vector).decode() if with_vector else None,
        dtype="f16le" if with_vector else None,
    )


def _write_cursor(item_id: str) -> str:
    return base64.urlsafe_b64encode(item_id.encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> str:
    if cursor is None:
        return ""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise Refusal(
            ProblemKind.VALIDATION,
            "Expected the next_cursor of an earlier page as the cursor. Start again without a cursor.",
        ) from None
