"""Items as a database holds them, whatever that is: for examination, salvage and export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from askew_server.storage.checksums import has_checksums, item_checksum, vector_checksum
from askew_server.storage.sqlite import Database


@dataclass(frozen=True)
class RawItem:
    """An item as it lies in a database, whatever it holds; `is_as_written` by its checksums, where it has any."""

    label: int
    id: object
    payload: object
    photo: object
    vector: object
    is_as_written: bool = True


def raw_items(database: Database, condition: str = "true", *parameters: object) -> Iterator[RawItem]:
    """The items of a gallery's database, of whichever layout, by label. Raises DatabaseError."""
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
            is_as_written=(of_item is None or item_checksum(label, item_id, payload, photo) == of_item)
            and (of_vector is None or vector_checksum(label, vector) == of_vector),
        )
