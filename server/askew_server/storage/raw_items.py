"""Items exactly as a database holds them, valid or not: for examination, salvage and export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from askew_server.storage.checksums import has_checksums, item_checksum, vector_checksum
from askew_server.storage.filter_sql import EVERY_ITEM, SqlCondition
from askew_server.storage.sqlite import Database


@dataclass(frozen=True)
class RawItem:
    """An item as stored, of any types. `matches_checksums` is true where the database has none."""

    label: int
    id: object
    payload: object
    photo: object
    vector: object
    matches_checksums: bool = True


def raw_items(database: Database, condition: SqlCondition = EVERY_ITEM) -> Iterator[RawItem]:
    """The items of a gallery's database, of either layout, that meet a condition, by label. Raises DatabaseError."""
    if database.has_table("vectors") and has_checksums(database):
        columns, source = "items.checksum, vectors.checksum", "items LEFT JOIN vectors USING (label)"
    else:
        columns, source = "NULL, NULL", "items"
    sql = f"SELECT items.label, id, payload, photo, vector, {columns} FROM {source} WHERE {condition.sql} ORDER BY items.label"
    for label, item_id, payload, photo, vector, of_item, of_vector in database.each(sql, condition.parameters):
        yield RawItem(
            label=label,
            id=item_id,
            payload=payload,
            photo=photo,
            vector=vector,
            matches_checksums=(of_item is None or item_checksum(label, item_id, payload, photo) == of_item)
            and (of_vector is None or vector_checksum(label, vector) == of_vector),
        )
