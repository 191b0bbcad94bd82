"""What a disk says no with, as problems: full, not to be written, or holding what cannot be read."""

from __future__ import annotations

import errno
import os
import sqlite3

from askew_client.contract.problems import ProblemKind

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITTEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOT_READ = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
_SQLITE_NOT_WRITTEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_PRIMARY = 0xFF


def storage_problem(error: BaseException) -> tuple[ProblemKind, str] | None:
    """The problem and the sentence that an error of the disk or of a database stands for; None for any other error."""
    if isinstance(error, sqlite3.DatabaseError):
        return _of_database(error)
    if not isinstance(error, OSError):
        return None
    if error.errno in _FULL:
        return _full()
    if error.errno in _NOT_WRITTEN:
        return _not_written(os.strerror(error.errno or 0))
    return None


def _of_database(error: sqlite3.DatabaseError) -> tuple[ProblemKind, str] | None:
    # An error of the sqlite3 module itself, and not of SQLite, has no code.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code & _PRIMARY == sqlite3.SQLITE_FULL:
        return _full()
    if code & _PRIMARY in _CORRUPT or code in _NOT_READ:
        return (
            ProblemKind.DAMAGED_GALLERY,
            f"The database of the gallery is damaged ({error}), so nothing was answered from it. The other galleries serve. "
            "Stop the server and run `askew doctor`, or restore a snapshot.",
        )
    if code & _PRIMARY in _SQLITE_NOT_WRITTEN:
        return _not_written(str(error))
    return None


def _full() -> tuple[ProblemKind, str]:
    return (
        ProblemKind.INSUFFICIENT_STORAGE,
        "The server's disk is full, so nothing was written; searches go on. Free space and try again.",
    )


def _not_written(reason: str) -> tuple[ProblemKind, str]:
    return (
        ProblemKind.INSUFFICIENT_STORAGE,
        f"The server's disk takes no writes ({reason}), so nothing was written; searches go on. See to the disk and try again.",
    )
