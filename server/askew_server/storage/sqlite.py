"""Transactions over a connection in autocommit mode."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


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
