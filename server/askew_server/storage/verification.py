"""Is a gallery's database as it was written? Asked before it is opened, or, of a large one, in the background after.

What is checked: the write-ahead log (write_ahead_log.py), SQLite's own structure, the gallery's facts, and the checksum
of every row. A gallery that fails is set aside, so that nobody gets an answer from it that may be wrong.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_server.errors import DamagedGallery, Refusal
from askew_server.storage.checksums import damaged_rows, has_checksums
from askew_server.storage.facts import examine_facts
from askew_server.storage.sqlite import open_read_only
from askew_server.storage.write_ahead_log import examine_log

LARGEST_CHECKED_AT_ONCE = 256 * 1024 * 1024
"""Bytes of a database that is checked as a whole before it is opened: some tenths of a second."""

_SHARE_OF_TIME = 0.2
_ADVICE = "See what is left of it with `askew doctor`, and restore a snapshot of it."


def refuse_damage(folder: Path) -> None:
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
    if path.stat().st_size > LARGEST_CHECKED_AT_ONCE:
        return
    try:
        with closing(open_read_only(path)) as database:
            _refuse_structure(folder, database)
            for faults in damaged_rows(database) if has_checksums(database) else ():
                _refuse_rows(folder, faults)
    except sqlite3.DatabaseError as error:
        raise _damaged(folder, str(error)) from None


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


class BackgroundCheck:
    """Walks through the rows of large galleries while they serve, a fifth of the time, once after each start."""

    def __init__(self, folders: Iterable[Path], set_aside: Callable[[str, str], None]) -> None:
        """`set_aside`: called with a gallery's name and a sentence when it turns out to be damaged."""
        self._folders = [folder for folder in folders if _is_large(folder)]
        self._set_aside = set_aside
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="background-check", daemon=True)

    def start(self) -> None:
        """Begin, if there is anything to do."""
        if self._folders:
            self._thread.start()

    def close(self) -> None:
        """Stop within a step."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        for folder in self._folders:
            try:
                self._check(folder)
            except DamagedGallery as error:
                self._set_aside(folder.name, str(error))
            except (OSError, sqlite3.Error) as error:
                if not (folder / "gallery.db").exists():
                    continue
                if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                    self._set_aside(folder.name, str(_damaged(folder, str(error))))
                else:
                    logging.getLogger("askew.galleries").warning("%s could not be checked: %s", folder, error)

    def _check(self, folder: Path) -> None:
        with closing(open_read_only(folder / "gallery.db")) as database:
            began = time.monotonic()
            for faults in damaged_rows(database) if has_checksums(database) else ():
                _refuse_rows(folder, faults)
                took = time.monotonic() - began
                if self._stopping.wait(took * (1 / _SHARE_OF_TIME - 1)):
                    return
                began = time.monotonic()


def _refuse_structure(folder: Path, database: sqlite3.Connection) -> None:
    verdict = str(database.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if verdict != "ok":
        raise _damaged(folder, verdict[:300])
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone() is None:
        raise _damaged(folder, "it holds no gallery")
    fault = examine_facts(dict(database.execute("SELECT key, value FROM facts").fetchall()))
    if fault is not None:
        raise _damaged(folder, f"its facts do not hold together: {fault}")


def _refuse_rows(folder: Path, faults: list[str]) -> None:
    if faults:
        raise _damaged(folder, f"{faults[0]}, and {len(faults) - 1} more" if len(faults) > 1 else faults[0])


def _is_large(folder: Path) -> bool:
    try:
        return (folder / "gallery.db").stat().st_size > LARGEST_CHECKED_AT_ONCE
    except OSError:
        return False


def _damaged(folder: Path, reason: str) -> DamagedGallery:
    return DamagedGallery(f"The database of the gallery in {folder} is damaged: {reason}. {_ADVICE}")
