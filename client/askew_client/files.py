"""Replacing files atomically: after a crash a path holds the old file or the complete new one, never a part of it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self


class PartialFile:
    """A temporary file in the folder of `path`, which `commit` puts in its place. Use it in a `with` statement.

    A file that was not committed is removed when the `with` block ends.
    """

    def __init__(self, path: Path) -> None:
        """Create the temporary file; write to `stream`. Raises OSError, about `path`, if it is a folder, or cannot be written."""
        with _errors_about(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        self._path = path
        self._temporary = Path(name)
        self.stream = os.fdopen(descriptor, "wb")

    def commit(self, check: Callable[[Path], None] | None = None) -> None:
        """Flush the file to the disk, call `check` with its path, and rename it unless `check` raises."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        if check is not None:
            check(self._temporary)
        self._temporary.chmod(0o644)
        self._temporary.replace(self._path)
        flush_folder(self._path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # On a full disk this raises once more: what the stream kept back cannot be written.
            self.stream.close()
        finally:
            self._temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, or replace it with new content, atomically. Raises OSError, which names `path`."""
    with _errors_about(path), PartialFile(path) as file:
        file.stream.write(content)
        file.commit()


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Let an OSError name the file that was to be written: nobody knows the temporary one, and a full disk names none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
