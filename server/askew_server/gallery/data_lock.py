"""The lock on a DATA directory: one process owns it at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

from filelock import FileLock, Timeout

from askew_server.errors import DataInUse


def take_data_lock(data: Path, owner: str) -> FileLock:
    """Lock DATA for this process. Raises DataInUse, whose message names the owner."""
    lock = FileLock(data / "lock", timeout=0)
    note = data / "owner.json"
    try:
        lock.acquire()
    except Timeout:
        raise DataInUse(
            f"{data} is in use by {_read_owner(note)}. Use that server with --server URL, or stop it first."
        ) from None
    note.write_text(json.dumps({"owner": owner, "process": os.getpid()}))
    return lock


def _read_owner(note: Path) -> str:
    try:
        record = json.loads(note.read_text())
        return f"{record['owner']} (process {record['process']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
