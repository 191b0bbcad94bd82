"""DATA/askew.db: keys, aliases and jobs. Each table is created by the module that uses it."""

from __future__ import annotations

from pathlib import Path

from askew_client.errors import AskewError
from askew_server.storage.errors import DatabaseError
from askew_server.storage.sqlite import Database
from askew_server.storage.write_ahead_log import examine_log


def open_server_database(data: Path, schema: str) -> Database:
    """A new connection to DATA/askew.db, on which the tables of `schema` exist; commits are on the disk when they return.

    Use it from one thread at a time. Raises AskewError when the file is not a database, or is damaged.
    """
    path = data / "askew.db"
    damage = examine_log(path)
    # SQLite opens an empty file as a database without keys, and a server without keys serves everybody.
    if (path.exists() and not path.stat().st_size) or (damage is not None and damage.loses_acknowledged):
        raise _unreadable(path, "it is truncated" if damage is None else "its write-ahead log is damaged")
    database = Database.open(path, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        verdict = str(database.value("PRAGMA integrity_check(1)"))
        if verdict == "ok":
            database.execute_script(schema)
            return database
    except DatabaseError as error:
        verdict = str(error)
    database.close()
    raise _unreadable(path, verdict)


def _unreadable(path: Path, reason: str) -> AskewError:
    return AskewError(
        f"{path} cannot be read: {reason}. It holds keys, aliases and jobs; the galleries are not in it. Put back a copy of "
        "the file, or move it away to start without keys, aliases and jobs."
    )
