"""A cache of decoded, shrunk photos: one append-only file of raw pixels, and an index of its entries.

An entry is valid if its line in the index is complete and its pixels have the checksum stated there. A torn line is
ignored, and torn pixels are decoded again. Several threads and processes may read and add at the same time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
RESERVE = 1 << 30
"""Bytes of the disk that are left free, so that checkpoints can still be written."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A photo file as it is now: absolute path, size in bytes, time of the last change in ns."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The position of one photo's pixels: uint8 [height, width, 3], starting at the byte `offset`."""

    state: FileState
    offset: int
    height: int
    width: int
    checksum: int


def state_of(path: Path) -> FileState:
    """Read the state of a photo file. Raises OSError."""
    known = path.stat()
    return FileState(str(path.absolute()), known.st_size, known.st_mtime_ns)


class DecodedPhotos:
    """The decoded photos of one longest side in a folder, which is created if it is missing.

    `complaint`: None, or a sentence that says why no more photos are added (a full disk, a folder that cannot be
    written).
    """

    def __init__(self, folder: Path, longest_side: int, reserve: int = RESERVE) -> None:
        self.complaint: str | None = None
        self._folder = folder
        self._reserve = reserve
        self._name = f"decoded-{FORMAT}-{longest_side}"
        self._entries: dict[str, Entry] = {}
        self._index_read = 0
        self._index = self._pixels = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._index = os.open(folder / f"{self._name}.index", os.O_RDWR | os.O_CREAT, 0o644)
            self._pixels = os.open(folder / f"{self._name}.pixels", os.O_RDWR | os.O_CREAT, 0o644)
            self._read_index()
        except OSError as error:
            self._stop(error)

    def __del__(self) -> None:
        for descriptor in (self._index, self._pixels):
            if descriptor >= 0:
                os.close(descriptor)

    def shape(self, state: FileState) -> tuple[int, int] | None:
        """(height, width) of a cached photo; None if it is not cached."""
        entry = self._entry_of(state)
        return (entry.height, entry.width) if entry else None

    def read(self, state: FileState) -> NDArray[np.uint8] | None:
        """Read a cached photo, uint8 [H, W, 3] RGB; None if it is not cached, or damaged."""
        entry = self._entry_of(state)
        if entry is None:
            return None
        photo = np.empty((entry.height, entry.width, 3), np.uint8)
        try:
            # Read, not mapped: in a file that was cut short, a mapping would end the process with SIGBUS.
            length = os.preadv(self._pixels, [photo.reshape(-1).data], entry.offset)
        except OSError:
            return None
        return photo if length == photo.nbytes and zlib.crc32(photo.data) == entry.checksum else None

    def add(self, state: FileState, photo: NDArray[np.uint8]) -> None:
        """Add a photo, uint8 [H, W, 3]. After the first failure, `complaint` is set and nothing more is added."""
        if self.complaint is not None:
            return
        try:
            with self._lock():
                self._append(state, photo)
        except OSError as error:
            self._stop(error)

    def _entry_of(self, state: FileState) -> Entry | None:
        entry = self._entries.get(state.path)
        if entry is None or entry.state != state:
            # Another process or thread may have added it since the index was read.
            self._read_index()
            entry = self._entries.get(state.path)
        return entry if entry is not None and entry.state == state else None

    def _read_index(self) -> None:
        """Read the lines that were added. Threads may do this at the same time: they read the same lines."""
        start = self._index_read
        added = _read(self._index, start, os.fstat(self._index).st_size - start) if self._index >= 0 else b""
        whole = added.rfind(b"\n") + 1
        for line in added[:whole].splitlines():
            entry = _parse(line)
            if entry is not None:
                self._entries[entry.state.path] = entry
        self._index_read = start + whole

    def _append(self, state: FileState, photo: NDArray[np.uint8]) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < self._reserve + photo.nbytes:
            raise OSError(
                0, f"{free / 1e9:.1f} GB of the disk are free, and {self._reserve / 1e9:.1f} GB must remain free"
            )
        offset = os.fstat(self._pixels).st_size
        try:
            _write(self._pixels, photo.tobytes(), offset)
        except OSError:
            os.ftruncate(self._pixels, offset)
            raise
        line = json.dumps(
            [state.path, state.size, state.modified, offset, photo.shape[0], photo.shape[1], zlib.crc32(photo.data)]
        )
        # The line break in front ends a line that a crash may have torn.
        _write(self._index, f"\n{line}\n".encode(), os.fstat(self._index).st_size)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # Opened each time: threads and forked processes would share the lock of a file that is already open.
        lock = os.open(self._folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _stop(self, error: OSError) -> None:
        self.complaint = (
            f"No more decoded photos are stored in {self._folder}: {error.strerror or error}. "
            "Photos that are not stored are decoded each time they are read, which is slower."
        )


def _parse(line: bytes) -> Entry | None:
    """The entry of a line of the index; None for an empty or damaged line."""
    try:
        path, size, modified, offset, height, width, checksum = json.loads(line)
    except (ValueError, TypeError):
        return None
    numbers = (size, modified, offset, height, width, checksum)
    if not isinstance(path, str) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        return None
    return Entry(FileState(path, size, modified), offset, height, width, checksum)


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """Read up to `length` bytes; a single call may return fewer for a long file."""
    parts = []
    while length > 0 and (part := os.pread(descriptor, min(length, 1 << 26), offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def _write(descriptor: int, content: bytes, offset: int) -> None:
    """Write all bytes; a single call may write fewer on a disk that is nearly full."""
    while content:
        written = os.pwrite(descriptor, content, offset)
        content = content[written:]
        offset += written
