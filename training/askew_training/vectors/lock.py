"""The lock on a folder of vectors: one process fills it at a time, and never overwrites anything else in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from askew_training.errors import CacheError

LOCK = "lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create the folder if it is missing, and hold its lock. Raises CacheError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CacheError(f"Another process is filling {folder}. Wait for it, or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()


def check_empty(folder: Path) -> None:
    """Raise CacheError for a file, or for a folder that holds something other than the lock."""
    if folder.is_file():
        raise CacheError(f"Expected a folder for the vectors, but {folder} is a file.")
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.is_dir() else []
    if others:
        raise CacheError(f"{folder} holds {others[0]}, but no teacher vectors. Choose an empty or a new folder.")
