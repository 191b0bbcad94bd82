"""Connections to SQLite, whose errors are raised as those of storage/errors.py."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from askew_server.storage.errors import database_error

Row = tuple[Any, ...]

_PAGES_A_STEP = 2_048


class Database:
    """One connection in autocommit mode, used by one thread at a time. Every method raises DatabaseError."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, timeout: float = 5) -> Self:
        """Open a database, or create it. `timeout`: seconds to wait for another connection's lock."""
        return cls._connected(path, uri=False, timeout=timeout)

    @classmethod
    def open_read_only(cls, path: Path, *, timeout: float = 30) -> Self:
        """Open a database that this connection cannot change; writers need not wait for it."""
        options = "mode=ro"
        # SQLite makes files next to a database with a log, even for a reader. If it cannot, no process can write either.
        if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            options += "&immutable=1"
        return cls._connected(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=timeout)

    @classmethod
    def _connected(cls, target: Path | str, *, uri: bool, timeout: float) -> Self:
        try:
            connection = sqlite3.connect(
                target, uri=uri, timeout=timeout, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise database_error(error) from error
        return cls(connection)

    def close(self) -> None:
        """Close the connection; what was committed is on the disk already."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of a query."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise database_error(error) from error

    def row(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row of a query; None if there is none."""
        try:
            row: Row | None = self._connection.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise database_error(error) from error
        return row

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self.row(sql, parameters)
        return None if row is None else row[0]

    def each(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a query one by one, for results that do not fit in memory."""
        try:
            yield from self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise database_error(error) from error

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """Run one statement."""
        try:
            self._connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise database_error(error) from error

    def execute_many(self, sql: str, parameters: Iterable[Sequence[object]]) -> None:
        """Run one statement with each set of parameters."""
        try:
            self._connection.executemany(sql, parameters)
        except sqlite3.Error as error:
            raise database_error(error) from error

    def execute_script(self, script: str) -> None:
        """Run several statements."""
        try:
            self._connection.executescript(script)
        except sqlite3.Error as error:
            raise database_error(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block does, or none of it if the block raises; on the disk when it ends."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            # A commit also fails when the disk is full, and the transaction must not stay open.
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def refuse_values_beyond(self, size: int) -> None:
        """Make a read of a text or a blob of more bytes raise ValueTooLarge, before it is read. SQL text counts, too."""
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, size)

    def define_function(self, name: str, arguments: int, function: Callable[..., int]) -> None:
        """Make a Python function available to SQL on this connection. Equal arguments must give equal results."""
        self._connection.create_function(name, arguments, function, deterministic=True)

    def has_table(self, name: str) -> bool:
        """Whether the database has a table of this name."""
        return self.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)) is not None

    def back_up(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """Copy the database, as the open transaction sees it, to a new file.

        `progress(copied, total)`: called in bytes.
        """
        size = int(self.value("PRAGMA page_size"))
        with Database.open(target) as copy:
            try:
                self._connection.backup(
                    copy._connection,
                    pages=_PAGES_A_STEP,
                    progress=lambda _, remaining, total: progress((total - remaining) * size, total * size),
                )
            except sqlite3.Error as error:
                raise database_error(error) from error
