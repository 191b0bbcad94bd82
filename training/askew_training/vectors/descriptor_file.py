"""The vectors of one encoder, appended to two files: rows, and a line for each row with its key and checksum.

Appending costs what is appended, so that tens of thousands of vectors are saved as quickly as ten. Rows are on the disk
before the lines that name them, so a crash leaves rows without a name, which are written over.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from askew_training.errors import CacheError

WAIT = 120.0
"""Seconds to wait for another process that appends: it takes well under one."""

Row = NDArray[np.float32]


class DescriptorFile:
    """Vectors float32 [D] by key, in `NAME.rows` and `NAME.keys` of a folder. Several processes may append.

    `NAME.npz`, which earlier versions wrote, is read too. What is damaged counts as absent, because it can always be
    computed again.
    """

    def __init__(self, folder: Path, name: str, dim: int) -> None:
        """Read the keys; rows are read when they are asked for."""
        self._dim = dim
        self._rows_path, self._keys_path = folder / f"{name}.rows", folder / f"{name}.keys"
        self._lock = FileLock(folder / f"{name}.lock", timeout=WAIT)
        self._old = _read_npz(folder / f"{name}.npz", dim)
        self._places: dict[str, tuple[int, int]] = {}
        for place, (key, checksum) in enumerate(self._lines()):
            self._places[key] = place, checksum

    def read(self, keys: list[str]) -> dict[str, Row]:
        """The vectors of those keys that are here and undamaged."""
        found = {key: self._old[key] for key in keys if key in self._old and key not in self._places}
        wanted = sorted({key for key in keys if key in self._places}, key=lambda key: self._places[key][0])
        if not wanted:
            return found
        try:
            size = self._rows_path.stat().st_size // (4 * self._dim)
            rows = np.memmap(self._rows_path, dtype="<f4", mode="r", shape=(size, self._dim)) if size else None
        except OSError:
            rows = None
        for key in wanted:
            place, checksum = self._places[key]
            if rows is not None and place < len(rows):
                row = np.array(rows[place], dtype=np.float32)
                if zlib.crc32(row.tobytes()) == checksum:
                    found[key] = row
        return found

    def append(self, vectors: Mapping[str, Row]) -> None:
        """Add vectors, on the disk when this returns. Raises CacheError if they cannot be written, or if another process keeps the lock."""
        if not vectors:
            return
        try:
            with self._lock:
                self._append(vectors)
        except Timeout:
            raise CacheError(
                f"Another process has held {self._lock.lock_file} for {WAIT:.0f} seconds. Stop it, or choose another folder with "
                "--cache."
            ) from None
        # After Timeout, which is one, too.
        except OSError as error:
            raise CacheError(
                f"Vectors cannot be written to {self._rows_path.parent}: {error.strerror}. Make room, or choose another folder "
                "with --cache."
            ) from None

    def _append(self, vectors: Mapping[str, Row]) -> None:
        rows = [np.ascontiguousarray(row, dtype="<f4") for row in vectors.values()]
        # Another process may have appended since; its rows keep their places.
        lines = self._lines()
        with self._rows_path.open("ab") as stream:
            # Rows that no line names, after a crash, go; were there fewer, the gap is filled with zeros.
            stream.truncate(len(lines) * 4 * self._dim)
            stream.write(b"".join(row.tobytes() for row in rows))
            stream.flush()
            os.fsync(stream.fileno())
        text = "".join(f"{key} {zlib.crc32(row.tobytes()):08x}\n" for key, row in zip(vectors, rows, strict=True))
        with self._keys_path.open("ab") as stream:
            stream.truncate(sum(len(key.encode()) + 10 for key, _ in lines))
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        for place, (key, row) in enumerate(zip(vectors, rows, strict=True), start=len(lines)):
            self._places[key] = place, zlib.crc32(row.tobytes())

    def _lines(self) -> list[tuple[str, int]]:
        """Key and checksum of each row, up to the first line that is damaged or cut."""
        try:
            text = self._keys_path.read_bytes()
        except OSError:
            return []
        lines: list[tuple[str, int]] = []
        for line in text.splitlines(keepends=True):
            try:
                key, checksum = line.decode().removesuffix("\n").rsplit(" ", 1)
                if not line.endswith(b"\n") or len(checksum) != 8:
                    break
                lines.append((key, int(checksum, 16)))
            except ValueError:
                break
        return lines


def _read_npz(path: Path, dim: int) -> dict[str, Row]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            photos, vectors = content["photos"], content["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if vectors.shape != (len(photos), dim) or vectors.dtype != np.float32:
        return {}
    return {str(photo): vector for photo, vector in zip(photos, vectors, strict=True)}
