"""Transactions over a connection in autocommit mode."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of what is done inside, or none of it; on the disk when it ends."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        # A commit fails, too, when the disk is full; the transaction must not stay open then.
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that reads a gallery's database and cannot change it."""
    options = "mode=ro"
    # Even a reader makes files beside a database with a log; where none can be made, nobody can change it either.
    if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        options += "&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, timeout=30)
