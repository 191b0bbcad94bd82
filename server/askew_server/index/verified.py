"""Which saved indexes this process has compared with their digests: a gallery that wakes need not read its index again."""

from __future__ import annotations

import threading
from pathlib import Path

from askew_server.index.record import Record

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Name, inode, bytes, and times of the last change of each file: nobody changes a file and leaves all of these."""


def signature_of(folder: Path) -> Signature | None:
    """What tells the saved index in `folder` from any other; None if there is none that can be read."""
    try:
        record = Record.read(folder)
        if record is None:
            return None
        files = [folder / record.folder / name for name in sorted(record.files)]
        states = [(str(file), file.stat()) for file in files]
    except (OSError, ValueError):
        return None
    # The record has a digest of its own, which also covers those of the files.
    return (
        (record.digest, 0, 0, 0, 0),
        *((name, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for name, state in states),
    )


class VerifiedIndexes:
    """The saved indexes that were found intact, as they were then. May be used from any thread."""

    def __init__(self) -> None:
        self._intact: dict[Path, Signature] = {}
        self._lock = threading.Lock()

    def holds(self, folder: Path) -> bool:
        """Whether the saved index in `folder` is one that was found intact, unchanged since."""
        with self._lock:
            known = self._intact.get(folder)
        return known is not None and known == signature_of(folder)

    def add(self, folder: Path, signature: Signature | None) -> None:
        """The saved index in `folder` is intact. `signature`: from before that was looked at."""
        with self._lock:
            if signature is None:
                self._intact.pop(folder, None)
            else:
                self._intact[folder] = signature
