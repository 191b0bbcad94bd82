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
from askew_server.storage.errors import EXHAUSTED, DatabaseError
from askew_server.storage.facts import examine_facts, read_facts
from askew_server.storage.sqlite import Database
from askew_server.storage.write_ahead_log import examine_log

LARGEST_CHECKED_AT_OPEN = 256 * 1024 * 1024
"""Bytes of the largest database that is checked completely before it is opened: some tenths of a second."""

_ADVICE = "Run `askew doctor` to see what is left of it, and restore a snapshot."


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
    if is_large(folder, largest):
        return
    try:
        with Database.open_read_only(path) as database:
            _check_structure(folder, database)
            for faults in damaged_rows(database):
                _check_rows(folder, faults)
    except EXHAUSTED:
        raise
    except DatabaseError as error:
        raise damaged_gallery(folder, str(error)) from None


def walk_rows(folder: Path) -> Iterator[None]:
    """Compare the rows of a gallery with their checksums, yielding after each step. Raises DamagedGallery, DatabaseError."""
    with Database.open_read_only(folder / "gallery.db") as database:
        for faults in damaged_rows(database):
            _check_rows(folder, faults)
            yield


def _check_structure(folder: Path, database: Database) -> None:
    verdict = str(database.value("PRAGMA integrity_check(1)"))
    if verdict != "ok":
        raise damaged_gallery(folder, verdict[:300])
    if not database.has_table("facts"):
        raise damaged_gallery(folder, "it is not the database of a gallery")
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
