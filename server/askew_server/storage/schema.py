"""The tables of a gallery's database, and how one of an older layout comes to this one."""

from __future__ import annotations

from pathlib import Path

from askew_server.storage.checksums import install_checksums
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
"""Vectors lie apart from the items, so that whoever reads payloads does not walk 4 kB blobs."""


def from_layout_1(database: Database, index: Path) -> None:
    """Bring a database in which items hold their vectors to layout 2, all or nothing; its saved index goes."""
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
        database.execute("UPDATE facts SET value = '2' WHERE key = 'layout'")
    for path in [*index.glob("exact-*.faiss"), index / "index.json"]:
        path.unlink(missing_ok=True)
