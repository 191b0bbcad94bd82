"""How many commits a database must hold at least: a number beside it, compared with the number inside when it is opened.

SQLite opens a database whose write-ahead log is missing, or is shorter than it was, as if the rest had never been written.
So every commit counts itself in the database, in the same transaction, and writes the number to a small file before it is
acknowledged. That file needs no flush of its own: a killed process loses nothing that it wrote, and after a power cut the
file may be behind the database, never ahead of it.
"""

from __future__ import annotations

import logging
import os
import re
import zlib
from pathlib import Path

from askew_client.files import write_atomically

COMMITS = "commits"
"""The fact, in the database, that counts its commits."""
IN_USE = "in_use"
"""The fact that says that commits since may be in the write-ahead log alone; its value is SQLite's schema_version.

`.backup` writes another schema_version into its copy, so a complete copy is not taken for a database without its log.
"""

_FORM = re.compile(rb"askew commits (\d{20}) ([0-9a-f]{8})\n")


class CommitMark:
    """The file with the number of commits that were acknowledged. It is open from the first write until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> int | None:
        """The number of commits; None if the file is missing or is damaged itself. Raises OSError."""
        try:
            found = _FORM.fullmatch(self.path.read_bytes())
        except FileNotFoundError:
            return None
        return None if found is None or found[2] != _checksum(found[1]) else int(found[1])

    def create(self, commits: int) -> None:
        """Write the number, whatever the file says, on the disk when this returns. Raises OSError."""
        if self.path.exists():
            # In place, as other connections have the file open.
            self._write(commits, flush=True)
            self.close()
        else:
            write_atomically(self.path, _text(commits))

    def advance(self, commits: int, *, flush: bool = False) -> None:
        """Write the number of a commit that is on the disk. `flush`: this file, too, is on the disk when this returns."""
        try:
            self._write(commits, flush=flush)
        except OSError as error:
            # The commit is safe. The file is behind it until the next one.
            logging.getLogger("askew.storage").warning("%s was not brought up to date: %s", self.path, error)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, commits: int, *, flush: bool) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.pwrite(self._descriptor, _text(commits), 0)
        if flush:
            os.fsync(self._descriptor)


def gallery_mark(folder: Path) -> CommitMark:
    """The mark of a gallery's database."""
    return CommitMark(folder / "gallery.db-commits")


def _text(commits: int) -> bytes:
    number = b"%020d" % commits
    return b"askew commits %s %s\n" % (number, _checksum(number))


def _checksum(number: bytes) -> bytes:
    return b"%08x" % zlib.crc32(number)
