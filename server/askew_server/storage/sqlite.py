"""Connections to SQLite, whose errors are raised as those of storage/errors.py."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from askew_server.storage.commit_mark import COMMITS, IN_USE, CommitMark
from askew_server.storage.errors import DatabaseError, DiskFull, database_error

Row = tuple[Any, ...]

_PAGES_A_STEP = 2_048
_COMMITS_NOW = f"SELECT value FROM facts WHERE key = '{COMMITS}'"


class Database:
    """One connection in autocommit mode, used by one thread at a time. Every method raises DatabaseError."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._mark: CommitMark | None = None
        self._commits = 0
        self._notes_use = self._is_noted = self._has_committed = False

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
        if self._is_noted:
            # The disk may be full. Then the database is found as if its process had been killed.
            with suppress(DatabaseError), self.transaction():
                self.execute("DELETE FROM facts WHERE key = ?", (IN_USE,))
        self._connection.close()
        if self._mark is not None:
            self._mark.close()

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
        if self._notes_use and not self._is_noted:
            self._note_use()
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            commits = None if self._mark is None else self._count_commit()
            # A commit also fails when the disk is full, and the transaction must not stay open.
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise
        if self._mark is not None and commits is not None:
            self._commits = commits
            self._mark.advance(commits, flush=not self._has_committed)
            self._has_committed = True

    def count_commits(self, mark: CommitMark, *, note_use: bool = False) -> None:
        """Count every later transaction, in the facts and in `mark`; the database has a table `facts`.

        `note_use`: the database says, from the first transaction until it is closed, that it needs its log. Only for a
        database with one writing connection.
        """
        try:
            if self.value("SELECT 1 FROM facts WHERE key = ?", (COMMITS,)) is None:
                self.execute("INSERT OR IGNORE INTO facts VALUES (?, '0')", (COMMITS,))
            if note_use and self.value("SELECT 1 FROM facts WHERE key = ?", (IN_USE,)) is not None:
                self.execute("DELETE FROM facts WHERE key = ?", (IN_USE,))
            commits = int(self.value("SELECT value FROM facts WHERE key = ?", (COMMITS,)))
            known = mark.read()
            if known is None:
                mark.create(commits)
            elif known < commits:
                # A crash came between the commit and the mark.
                mark.advance(commits)
        except (DiskFull, OSError) as error:
            # A full disk can be searched. Commits are not counted until the next opening.
            logging.getLogger("askew.storage").warning("commits are not counted in %s: %s", mark.path, error)
            return
        self._mark, self._notes_use, self._commits = mark, note_use, commits

    def _count_commit(self) -> int:
        # Only this connection writes to a database that notes its use. RETURNING would take four times as long.
        commits = 1 + (self._commits if self._notes_use else int(self.value(_COMMITS_NOW)))
        self.execute(f"UPDATE facts SET value = ? WHERE key = '{COMMITS}'", (str(commits),))
        return commits

    def _note_use(self) -> None:
        """Write into the database file itself, not only into its log, that the log is needed from now on."""
        sql = "INSERT OR REPLACE INTO facts SELECT ?, CAST(schema_version AS TEXT) FROM pragma_schema_version"
        self.execute(sql, (IN_USE,))
        self.checkpoint()
        self._is_noted = True

    def checkpoint(self) -> None:
        """Write what is in the log into the database file, as far as readers and the disk allow; nothing depends on it."""
        with suppress(DatabaseError):
            self.rows("PRAGMA wal_checkpoint(PASSIVE)")

    def compact(self) -> bool:
        """Write the database anew without its free pages, and empty the log; False if another connection holds the log."""
        self.execute("VACUUM")
        busy, *_ = self.row("PRAGMA wal_checkpoint(TRUNCATE)") or (1,)
        return not busy

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let all reads of the block see the database as of one moment, the first read's."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")

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
