"""Items exactly as a database holds them, valid or not: for examination, salvage and export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from askew_server.storage.checksums import has_checksums, item_checksum, vector_checksum
from askew_server.storage.sqlite import Database

_LABELS_AT_ONCE = 500


@dataclass(frozen=True)
class RawItem:
    """An item as stored, of any types. `matches_checksums` is true where the database has none."""

    label: int
    id: object
    payload: object
    photo: object
    vector: object
    matches_checksums: bool = True


def raw_items(database: Database, labels: Sequence[int] | None = None) -> Iterator[RawItem]:
    """The items of a gallery's database, of either layout, by label. Raises DatabaseError.

    `labels`: only those of these labels, which ascend.
    """
    if labels is None:
        yield from _raw_items(database, "true", ())
        return
    for start in range(0, len(labels), _LABELS_AT_ONCE):
        part = [int(label) for label in labels[start : start + _LABELS_AT_ONCE]]
        yield from _raw_items(database, f"items.label IN ({','.join('?' * len(part))})", part)


def _raw_items(database: Database, condition: str, parameters: Sequence[object]) -> Iterator[RawItem]:
    if database.has_table("vectors") and has_checksums(database):
        columns, source = "items.checksum, vectors.checksum", "items LEFT JOIN vectors USING (label)"
    else:
        columns, source = "NULL, NULL", "items"
    sql = f"SELECT items.label, id, payload, photo, vector, {columns} FROM {source} WHERE {condition} ORDER BY items.label"
    for label, item_id, payload, photo, vector, of_item, of_vector in database.each(sql, parameters):
        yield RawItem(
            label=label,
            id=item_id,
            payload=payload,
            photo=photo,
            vector=vector,
            matches_checksums=(of_item is None or item_checksum(label, item_id, payload, photo) == of_item)
            and (of_vector is None or vector_checksum(label, vector) == of_vector),
        )
