"""DATA/askew.db: what belongs to the server as a whole. Each table is made by the module that owns it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from askew_client.errors import AskewError


def open_server_database(data: Path, schema: str) -> sqlite3.Connection:
    """A connection of one's own to DATA/askew.db, with one's tables made; commits are on the disk when they return.

    Use it from one thread at a time. Raises AskewError when the file is no database or a damaged one.
    """
    path = data / "askew.db"
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(schema)
    except sqlite3.DatabaseError as error:
        database.close()
        raise AskewError(
            f"{path} cannot be read: {error}. It holds keys, aliases and jobs. Put a copy of it back; or move it away, "
            "to begin without any: the galleries are not in it."
        ) from None
    return database
