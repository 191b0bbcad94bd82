"""DATA/askew.db: keys, aliases and jobs. Each table is created by the module that uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

from askew_client.errors import AskewError
from askew_server.files import free_path
from askew_server.storage.commit_mark import COMMITS
from askew_server.storage.data_record import RECORD, KeysRecord, keys_record, server_mark
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import FACTS_SCHEMA, read_fact
from askew_server.storage.sqlite import Database
from askew_server.storage.write_ahead_log import examine_log

NAME = "askew.db"


def open_server_database(data: Path, schema: str) -> Database:
    """A new connection to DATA/askew.db, on which the tables of `schema` exist; commits are on the disk when they return.

    Use it from one thread at a time. Raises AskewError when the file is not a database, is damaged, or lacks what was
    acknowledged.
    """
    path = data / NAME
    try:
        fault = fault_of_server_database(data)
    except OSError as error:
        fault = str(error)
    if fault is not None:
        raise _unreadable(data, fault)
    existed = path.exists()
    database = Database.open(path, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute_script(schema)
        database.execute_script(FACTS_SCHEMA)
        if existed:
            # A database of an older Askew, of unknown content, is one that must not disappear.
            database.execute("INSERT OR IGNORE INTO facts VALUES (?, '1')", (COMMITS,))
        (data / RECORD).mkdir(exist_ok=True)
        database.count_commits(server_mark(data))
    except (DatabaseError, OSError) as error:
        database.close()
        raise _unreadable(data, str(error)) from None
    return database


def fault_of_server_database(data: Path) -> str | None:
    """What is wrong with DATA/askew.db, which is not open anywhere else for writing; None if nothing is."""
    path = data / NAME
    required = server_mark(data).read() or 0
    had_keys = (keys_record(data).read() or KeysRecord()).had_keys
    if not path.exists():
        if required or had_keys:
            return "it is missing, although it held keys" if had_keys else "it is missing"
        return None
    # SQLite opens an empty file as a database without keys, and a server without keys serves everybody.
    if not path.stat().st_size:
        return "it is truncated"
    damage = examine_log(path)
    if damage is not None and damage.loses_acknowledged:
        return "its write-ahead log is damaged"
    try:
        with Database.open_read_only(path) as database:
            verdict = str(database.value("PRAGMA integrity_check(1)"))
            if verdict != "ok":
                return verdict
            commits = int(read_fact(database, COMMITS) or 0) if database.has_table("facts") else 0
    except (DatabaseError, ValueError) as error:
        return str(error)
    if commits < required:
        return (
            f"it holds {commits} of {required} acknowledged changes: {path.name}-wal is missing or shorter than it was, or the "
            "file is an older copy"
        )
    return None


def accept_server_database(data: Path) -> str | None:
    """Let DATA/askew.db count as complete, as far as it can be read; a sentence about it, None if nothing is wrong.

    An empty database takes the place of one that is missing or cannot be read. What was there is kept in DATA/record.
    Whoever had keys once is not served without one. Raises OSError, DatabaseError.
    """
    fault = fault_of_server_database(data)
    if fault is None:
        return None
    path = data / NAME
    kept = free_path(data / RECORD / "before-acceptance")
    kept.mkdir(parents=True)
    for file in data.glob(f"{NAME}*"):
        shutil.copy2(file, kept / file.name)
    if not _is_readable(path):
        for file in data.glob(f"{NAME}*"):
            file.unlink()
    with Database.open(path, timeout=10) as database:
        database.execute_script(FACTS_SCHEMA)
        database.execute("INSERT OR IGNORE INTO facts VALUES (?, '1')", (COMMITS,))
        server_mark(data).create(int(read_fact(database, COMMITS) or 0))
        count = database.value("SELECT count(*) FROM keys") if database.has_table("keys") else 0
    return (
        f"It is used as it is, with {count} keys, revoked ones included; what was there before is kept in {kept}. Look at "
        f"`askew key list --data {data}`: a key that was revoked since may be valid again."
    )


def _is_readable(path: Path) -> bool:
    """Whether the file, of which SQLite reads as much of the log as it can, is an intact database."""
    if not path.exists() or not path.stat().st_size:
        return False
    try:
        with Database.open(path, timeout=10) as database:
            return str(database.value("PRAGMA integrity_check(1)")) == "ok"
    except DatabaseError:
        return False


def _unreadable(data: Path, reason: str) -> AskewError:
    return AskewError(
        f"{data / NAME} cannot be used: {reason}. It holds keys, aliases and jobs; the galleries are not in it. Put back a "
        f"copy of it, or go on without what is lost: `askew doctor --data {data} --accept-loss`. After that a server that had "
        "keys still serves nobody without a key; `askew key create` makes one."
    )
