"""A folder of vectors is filled by one process at a time, and nothing in it that is foreign is overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from askew_training.errors import CacheError

LOCK = "lock"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make the folder where there is none, and hold it. Raises CacheError when another process does."""
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


def refuse_foreign(folder: Path) -> None:
    """Raise CacheError for a file, or a folder that holds something."""
    if folder.is_file():
        raise CacheError(f"Expected a folder for the vectors, but {folder} is a file.")
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.is_dir() else []
    if others:
        raise CacheError(f"{folder} holds {others[0]} and no teacher vectors. Choose an empty or a new folder.")
