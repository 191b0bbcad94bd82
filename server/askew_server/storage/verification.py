"""Is a gallery's database as it was written? Asked before it is opened, or, of a large one, in the background after.

What is checked: the write-ahead log (write_ahead_log.py), SQLite's own structure, the gallery's facts, and the checksum
of every row. A gallery that fails is set aside, so that nobody gets an answer from it that may be wrong.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_server.errors import DamagedGallery, Refusal
from askew_server.storage.checksums import damaged_rows, has_checksums
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import examine_facts, read_facts
from askew_server.storage.sqlite import Database
from askew_server.storage.write_ahead_log import examine_log

LARGEST_CHECKED_AT_OPEN = 256 * 1024 * 1024
"""Bytes of a database that is checked as a whole before it is opened: some tenths of a second."""

_SHARE_OF_TIME = 0.2
_ADVICE = "See what is left of it with `askew doctor`, and restore a snapshot of it."


def check_before_opening(folder: Path, largest: int = LARGEST_CHECKED_AT_OPEN) -> None:
    """Look at the database of a gallery that nobody has open. Raises DamagedGallery."""
    path = folder / "gallery.db"
    damage = examine_log(path)
    if damage is not None and damage.loses_acknowledged:
        raise DamagedGallery(
            f"The gallery in {folder} cannot be opened: its write-ahead log is damaged at frame {damage.frame} of "
            f"{damage.frames}, and acknowledged writes behind it cannot be read. {_ADVICE}"
        )
    if damage is not None:
        logging.getLogger("askew.galleries").warning(
            "%s ends in a write that is not whole: one that a crash interrupted before it was acknowledged, or a damaged one",
            damage.path,
        )
    if is_large(folder, largest):
        return
    try:
        with Database.open_read_only(path) as database:
            _refuse_structure(folder, database)
            for faults in damaged_rows(database) if has_checksums(database) else ():
                _refuse_rows(folder, faults)
    except DatabaseError as error:
        raise damaged_gallery(folder, str(error)) from None


def require_whole_photo(path: Path) -> None:
    """Compare a photo with the SHA-256 that it is named by. Raises Refusal (damaged-gallery)."""
    try:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == path.stem:
                return
        reason = "its bytes are not those of its SHA-256"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise Refusal(
        ProblemKind.DAMAGED_GALLERY,
        f"The photo {path.name} is damaged on the server's disk ({reason}). Searches are not affected. Send it again, or "
        "see what else is damaged with `askew doctor`.",
    )


def walk_rows(folder: Path) -> Iterator[None]:
    """Compare every row of a gallery with its checksum, a step at a time. Raises DamagedGallery, DatabaseError."""
    with Database.open_read_only(folder / "gallery.db") as database:
        for faults in damaged_rows(database) if has_checksums(database) else ():
            _refuse_rows(folder, faults)
            yield


def _refuse_structure(folder: Path, database: Database) -> None:
    verdict = str(database.value("PRAGMA integrity_check(1)"))
    if verdict != "ok":
        raise damaged_gallery(folder, verdict[:300])
    if not database.has_table("facts"):
        raise damaged_gallery(folder, "it holds no gallery")
    fault = examine_facts(read_facts(database))
    if fault is not None:
        raise damaged_gallery(folder, f"its facts are inconsistent: {fault}")


def _refuse_rows(folder: Path, faults: list[str]) -> None:
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
