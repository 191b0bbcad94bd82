"""The tables of a gallery's items, and the migration from the older layout."""

from __future__ import annotations

from pathlib import Path

from askew_server.storage.checksums import install_checksums
from askew_server.storage.facts import write_fact
from askew_server.storage.sqlite import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, payload TEXT NOT NULL, photo TEXT, checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS items_by_photo ON items (photo) WHERE photo IS NOT NULL;
CREATE TABLE IF NOT EXISTS vectors (
    label INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL
) STRICT;
"""
"""Vectors have a separate table, so that a walk over payloads does not read 4 kB of vector for each item."""

SCHEMA_OF_LAYOUT_1 = """
CREATE TABLE IF NOT EXISTS items (
    label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, vector BLOB NOT NULL, payload TEXT NOT NULL, photo TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS items_by_photo ON items (photo) WHERE photo IS NOT NULL;
CREATE TABLE IF NOT EXISTS removed (sequence INTEGER PRIMARY KEY, label INTEGER NOT NULL) STRICT;
"""


def migrate_from_layout_1(database: Database, index: Path) -> None:
    """Migrate a database of layout 1, in which items hold their vectors, to layout 2, all or nothing.

    The saved index of layout 1, in the folder `index`, is removed. Raises DatabaseError.
    """
    install_checksums(database)
    with database.transaction():
        database.execute("DROP INDEX IF EXISTS items_by_photo")
        database.execute("ALTER TABLE items RENAME TO items_of_layout_1")
        for statement in SCHEMA.split(";")[:-1]:
            database.execute(statement)
        database.execute(
            "INSERT INTO items SELECT label, id, payload, photo, item_checksum(label, id, payload, photo)"
            " FROM items_of_layout_1 ORDER BY label"
        )
        database.execute(
            "INSERT INTO vectors SELECT label, vector, vector_checksum(label, vector) FROM items_of_layout_1 ORDER BY label"
        )
        database.execute("DROP TABLE items_of_layout_1")
        database.execute("DROP TABLE IF EXISTS removed")
        write_fact(database, "layout", "2")
    for path in [*index.glob("exact-*.faiss"), index / "index.json"]:
        path.unlink(missing_ok=True)
