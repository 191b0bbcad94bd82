"""Read one item, a page of items, a vector or a photo, in the form that the API returns."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.items import Item, ItemPage
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.storage.filters import Selection
from askew_server.storage.reader import GalleryReader, ItemRow
from askew_server.storage.vectors import unpack_vector


def read_item(reader: GalleryReader, gallery: str, item_id: str, *, with_vector: bool) -> Item:
    """One item. Raises Refusal (unknown-item)."""
    row = reader.item(item_id)
    if row is None:
        raise unknown_item(gallery, item_id)
    return _item(row, with_vector)


def read_page(
    reader: GalleryReader,
    cursor: str | None,
    limit: int,
    selection: Selection | None = None,
    *,
    with_vectors: bool,
) -> ItemPage:
    """One page of the items of a selection, or of all, sorted by id. Raises Refusal (validation) for an invalid cursor.

    A selection must be of the same snapshot of the reader.
    """
    labels = None if selection is None else selection.labels
    rows = reader.page(_read_cursor(cursor), limit + 1, labels)
    following = _write_cursor(rows[limit - 1].id) if len(rows) > limit else None
    return ItemPage(
        items=[_item(row, with_vectors) for row in rows[:limit]],
        next_cursor=following,
        unknown_fields=[] if selection is None else selection.unknown_fields,
    )


def vector_of(reader: GalleryReader, gallery: str, item_id: str) -> NDArray[np.float32]:
    """The stored vector of an item, float32 [D]. Raises Refusal (unknown-item)."""
    row = reader.item(item_id)
    if row is None:
        raise unknown_item(gallery, item_id)
    return unpack_vector(row.vector)


def photo_of(reader: GalleryReader, gallery: str, item_id: str) -> Path:
    """The file of an item's photo. Raises Refusal (unknown-item) for an unknown item, or one without a photo."""
    row = reader.item(item_id)
    if row is None:
        raise unknown_item(gallery, item_id)
    if row.photo is None:
        raise Refusal(ProblemKind.UNKNOWN_ITEM, f"Item {item_id[:200]!r} of gallery {gallery!r} has no photo.")
    return reader.photo_path(row.photo)


def unknown_item(gallery: str, item_id: str) -> Refusal:
    """The refusal for an id that the gallery does not have."""
    return Refusal(ProblemKind.UNKNOWN_ITEM, f"Gallery {gallery!r} has no item {item_id[:200]!r}.")


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
