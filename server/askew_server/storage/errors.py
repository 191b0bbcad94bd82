"""Errors of databases and disks, and the problem that each is reported as.

DatabaseError            SQLite could not do what was asked; the text is SQLite's
├── DamagedDatabase      the file is not a database, or cannot be read
├── DiskFull             there was no room for a write
├── DiskNotWritable      the disk does not accept writes
├── OutOfDescriptors     the process or the machine has too many files open
├── OutOfMemory          there was no memory
└── ValueTooLarge        a value is larger than this connection reads
"""

from __future__ import annotations

import errno
import os
import sqlite3

from askew_client.contract.problems import ProblemKind

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}
_NO_MEMORY = {errno.ENOMEM}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_MAYBE_DESCRIPTORS = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
_SQLITE_NOT_READ = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
_SQLITE_NOT_WRITABLE = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}
_DESCRIPTORS_OF_A_DATABASE = 4
"""A database, its log, the log's index and a journal: SQLite says the same if any of them cannot be opened."""
_NO_THREAD = "can't start new thread"
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


class OutOfDescriptors(DatabaseError):
    """The process, or the machine, has too many files open."""


class OutOfMemory(DatabaseError):
    """There was no memory for it."""


EXHAUSTED = (DiskFull, OutOfDescriptors, OutOfMemory)
"""Errors that say nothing of the database: a later try may succeed."""


class ValueTooLarge(DatabaseError):
    """A text or a blob is larger than this connection reads; see Database.refuse_values_beyond."""


def database_error(error: sqlite3.Error) -> DatabaseError:
    """Askew's error for an error of SQLite, with the same text."""
    return _class_of(error)(str(error))


def _class_of(error: sqlite3.Error) -> type[DatabaseError]:
    # Errors of the sqlite3 module itself have no code.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return DatabaseError
    # A log's index that cannot grow is reported as an error of the device.
    if code & _PRIMARY == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return DiskFull
    if code & _PRIMARY == sqlite3.SQLITE_NOMEM or code == sqlite3.SQLITE_IOERR_NOMEM:
        return OutOfMemory
    if code & _PRIMARY == sqlite3.SQLITE_TOOBIG:
        return ValueTooLarge
    # SQLite does not say why it could not open a file, or extend one that it maps.
    if code & _PRIMARY in _SQLITE_MAYBE_DESCRIPTORS and not _has_descriptors(_DESCRIPTORS_OF_A_DATABASE):
        return OutOfDescriptors
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
    if isinstance(error, OutOfDescriptors) or _lacks_descriptors(error):
        return (
            ProblemKind.OUT_OF_DESCRIPTORS,
            "The server has as many files and connections open as it may (its limit on open files, `ulimit -n`), so the "
            "request was not answered. Try again in a second; if this happens often, raise the limit.",
        )
    if isinstance(error, OutOfMemory | MemoryError) or (isinstance(error, OSError) and error.errno in _NO_MEMORY):
        return (
            ProblemKind.OUT_OF_MEMORY,
            "The server has no memory left for this request, which was not carried out. Try again later, or ask for less "
            "at once; if this happens often, give the server more memory.",
        )
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return (
            ProblemKind.OUT_OF_MEMORY,
            "The server cannot start another thread: it is at its limit on threads or memory. Try again later; if this "
            "happens often, raise the limit on processes (`ulimit -u`, or the container's).",
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


def _lacks_descriptors(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_DESCRIPTOR
    # FAISS names the reason in its sentence alone.
    return isinstance(error, RuntimeError) and any(os.strerror(number) in str(error) for number in _NO_DESCRIPTOR)


def _has_descriptors(count: int) -> bool:
    """Whether so many more files can be opened now."""
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in _NO_DESCRIPTOR
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True
