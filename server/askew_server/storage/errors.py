"""Errors of databases and disks, and the problem that each is reported as.

DatabaseError          SQLite could not do what was asked; the text is SQLite's
├── DamagedDatabase    the file is not a database, or cannot be read
├── DiskFull           there was no room for a write
└── DiskNotWritable    the disk does not accept writes
"""

from __future__ import annotations

import errno
import os
import sqlite3

from askew_client.contract.problems import ProblemKind

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_NOT_READ = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
_SQLITE_NOT_WRITABLE = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}
_PRIMARY = 0xFF
"""The primary code in an extended result code of SQLite."""


class DatabaseError(Exception):
    """SQLite could not do what was asked."""


class DamagedDatabase(DatabaseError):
    """The file is not a database, or some of it cannot be read."""


class DiskFull(DatabaseError):
    """There was no room for a write."""


class DiskNotWritable(DatabaseError):
    """The disk does not accept writes."""


def database_error(error: sqlite3.Error) -> DatabaseError:
    """Askew's error for an error of SQLite, with the same text."""
    return _class_of(error)(str(error))


def _class_of(error: sqlite3.Error) -> type[DatabaseError]:
    # Errors of the sqlite3 module itself have no code.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return DatabaseError
    if code & _PRIMARY == sqlite3.SQLITE_FULL:
        return DiskFull
    if code & _PRIMARY in _SQLITE_DAMAGED or code in _SQLITE_NOT_READ:
        return DamagedDatabase
    if code & _PRIMARY in _SQLITE_NOT_WRITABLE:
        return DiskNotWritable
    return DatabaseError


def storage_problem(error: BaseException) -> tuple[ProblemKind, str] | None:
    """The kind of problem and the sentence for an error of a disk or a database; None for any other error."""
    if isinstance(error, DamagedDatabase):
        return (
            ProblemKind.DAMAGED_GALLERY,
            f"The database of the gallery is damaged ({error}), so the request was not answered. Other galleries are not "
            "affected. Stop the server and run `askew doctor`, or restore a snapshot.",
        )
    if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in _FULL):
        return (
            ProblemKind.INSUFFICIENT_STORAGE,
            "The server's disk is full, so nothing was written; searches continue. Free space and try again.",
        )
    if isinstance(error, DiskNotWritable):
        return _not_writable(str(error))
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return _not_writable(os.strerror(error.errno or 0))
    return None


def _not_writable(reason: str) -> tuple[ProblemKind, str]:
    return (
        ProblemKind.INSUFFICIENT_STORAGE,
        f"The server's disk does not accept writes ({reason}), so nothing was written; searches continue. "
        "Check the disk and try again.",
    )
