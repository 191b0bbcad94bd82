"""Checks a gallery's database for damage: before it is opened, or in the background afterwards if it is large.

Checked are the write-ahead log (write_ahead_log.py), SQLite's own structure, the gallery's facts, and the checksum of
every row. A gallery that fails is set aside, so that it gives no wrong answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from askew_server.errors import DamagedGallery
from askew_server.storage.checksums import damaged_rows
from askew_server.storage.commit_mark import COMMITS, IN_USE, gallery_mark
from askew_server.storage.errors import EXHAUSTED, DatabaseError
from askew_server.storage.expected_schema import schema_fault
from askew_server.storage.facts import examine_facts, is_count, read_fact, read_facts
from askew_server.storage.sqlite import Database
from askew_server.storage.write_ahead_log import examine_log

LARGEST_CHECKED_AT_OPEN = 256 * 1024 * 1024
"""Bytes of the largest database that is checked completely before it is opened: some tenths of a second."""

_ADVICE = "Run `askew doctor` to see what is left of it, and restore a snapshot."
_WAY_OUT = (
    "Put back the missing file, or restore a snapshot, or stop the server and take the gallery as it is with "
    "`askew doctor --accept-loss`."
)


def check_before_opening(folder: Path, largest: int = LARGEST_CHECKED_AT_OPEN) -> None:
    """Check the database of a gallery that is not open anywhere. Raises DamagedGallery."""
    path = folder / "gallery.db"
    damage = examine_log(path)
    if damage is not None and damage.loses_acknowledged:
        raise DamagedGallery(
            f"The gallery in {folder} cannot be opened: its write-ahead log is damaged at frame {damage.frame} of "
            f"{damage.frames}, and acknowledged writes after that frame cannot be read. {_ADVICE}"
        )
    if damage is not None:
        logging.getLogger("askew.galleries").warning(
            "%s ends in an incomplete write: a crash interrupted it before it was acknowledged, or it is damaged",
            damage.path,
        )
    try:
        with Database.open_read_only(path) as database:
            _check_complete(folder, database)
            if is_large(folder, largest):
                return
            _check_structure(folder, database)
            for faults in damaged_rows(database):
                _check_rows(folder, faults)
    except EXHAUSTED:
        raise
    except (DatabaseError, OSError) as error:
        raise damaged_gallery(folder, str(error)) from None


def walk_rows(folder: Path) -> Iterator[None]:
    """Compare the rows of a gallery with their checksums, yielding after each step. Raises DamagedGallery, DatabaseError."""
    with Database.open_read_only(folder / "gallery.db") as database:
        for faults in damaged_rows(database):
            _check_rows(folder, faults)
            yield


def missing_commits(folder: Path, database: Database) -> str | None:
    """How acknowledged writes are missing from a gallery's database, as a clause; None if none are.

    Raises DatabaseError, OSError.
    """
    required = gallery_mark(folder).read()
    found = read_fact(database, COMMITS) or "0"
    if required is not None:
        if is_count(found) and int(found) >= required:
            return None
        return (
            f"it holds {found[:20]} of {required} acknowledged commits: gallery.db-wal is missing or shorter than it was, or "
            "gallery.db is an older copy"
        )
    in_use = read_fact(database, IN_USE)
    if in_use is None or in_use != str(database.value("PRAGMA schema_version")):
        return None
    # A log of no bytes is one that a reader has just made.
    log = folder / "gallery.db-wal"
    if log.exists() and log.stat().st_size:
        return None
    return "it was in use when it was copied, and without its log gallery.db-wal the last writes may be missing"


def _check_complete(folder: Path, database: Database) -> None:
    fault = schema_fault(database)
    if fault is not None:
        raise damaged_gallery(folder, fault)
    fault = missing_commits(folder, database)
    if fault is not None:
        raise DamagedGallery(f"The database of the gallery in {folder} is not complete: {fault}. {_WAY_OUT}")


def _check_structure(folder: Path, database: Database) -> None:
    verdict = str(database.value("PRAGMA integrity_check(1)"))
    if verdict != "ok":
        raise damaged_gallery(folder, verdict[:300])
    fault = examine_facts(read_facts(database))
    if fault is not None:
        raise damaged_gallery(folder, f"its facts are inconsistent: {fault}")


def _check_rows(folder: Path, faults: list[str]) -> None:
    if faults:
        raise damaged_gallery(folder, f"{faults[0]}, and {len(faults) - 1} more" if len(faults) > 1 else faults[0])


def is_large(folder: Path, largest: int) -> bool:
    """Whether a gallery's database is too large to be checked before it is opened."""
    try:
        return (folder / "gallery.db").stat().st_size > largest
    except OSError:
        return False


def damaged_gallery(folder: Path, reason: str) -> DamagedGallery:
    """The error for a gallery whose database is damaged."""
    return DamagedGallery(f"The database of the gallery in {folder} is damaged: {reason}. {_ADVICE}")
