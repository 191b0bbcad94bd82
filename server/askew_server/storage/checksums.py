"""A checksum with every row of items and vectors: SQLite keeps none, and would return a flipped bit unnoticed.

CRC-32, against decay and not against people; written with the row, compared when a gallery is opened or examined.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from askew_server.storage.sqlite import Database

ITEM_CHECKSUM = "item_checksum"
VECTOR_CHECKSUM = "vector_checksum"

_ROWS_AT_ONCE = 1_000
_ITEMS = """
SELECT label, id, payload, photo, checksum,
    EXISTS (SELECT 1 FROM vectors WHERE vectors.label = found.label)
    AND EXISTS (SELECT 1 FROM items INDEXED BY sqlite_autoindex_items_1 WHERE id = found.id AND label = found.label)
FROM items AS found NOT INDEXED WHERE label > ? ORDER BY label LIMIT ?
"""
_VECTORS = "SELECT label, vector, checksum FROM vectors WHERE label > ? ORDER BY label LIMIT ?"


def item_checksum(label: int, item_id: str, payload: str, photo: str | None) -> int:
    """The checksum of a row of `items`."""
    return zlib.crc32("\0".join([str(label), item_id, payload, photo or ""]).encode())


def vector_checksum(label: int, vector: bytes) -> int:
    """The checksum of a row of `vectors`."""
    return zlib.crc32(vector, zlib.crc32(str(label).encode()))


def install_checksums(database: Database) -> None:
    """Make both checksums available as SQL functions on this connection."""
    database.define_function(ITEM_CHECKSUM, 4, item_checksum)
    database.define_function(VECTOR_CHECKSUM, 2, vector_checksum)


def has_checksums(database: Database) -> bool:
    """Whether the database's layout has checksums. Raises DatabaseError."""
    return any(row[1] == "checksum" for row in database.each("PRAGMA table_info(vectors)"))


def damaged_rows(database: Database) -> Iterator[list[str]]:
    """Check a gallery's rows, a thousand at a time: a sentence for each damaged row of each step. Raises DatabaseError.

    Each step is a separate read, so that a walk over millions of rows does not delay checkpoints. Rows that are
    written or deleted during the walk do not count as damaged. Nothing is yielded for a layout without checksums.
    """
    if not has_checksums(database):
        return
    last = -1
    while rows := database.rows(_ITEMS, (last, _ROWS_AT_ONCE)):
        yield [
            f"item {str(item_id)[:80]!r} (label {label}) does not match its checksum"
            for label, item_id, payload, photo, checksum, _ in rows
            if item_checksum(label, item_id, payload, photo) != checksum
        ] + [
            f"item {str(item_id)[:80]!r} (label {label}) has no vector, or is not found by its id"
            for label, item_id, _, _, _, is_found in rows
            if not is_found
        ]
        last = rows[-1][0]
    last = -1
    while rows := database.rows(_VECTORS, (last, _ROWS_AT_ONCE)):
        yield [
            f"the vector of label {label} does not match its checksum"
            for label, vector, checksum in rows
            if vector_checksum(label, vector) != checksum
        ]
        last = rows[-1][0]
