"""A file made of parts of another file, which is read as if it were written out."""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True)
class Picture:
    """What of a photo file is decoded. `orientation`: 1 to 8, as EXIF numbers them; the pixels are to be turned by it."""

    stream: BinaryIO
    orientation: int


class Pieces:
    """Collects parts of a file, and bytes that stand in for others."""

    def __init__(self) -> None:
        self._parts: list[bytes | tuple[int, int]] = []

    def add(self, part: bytes) -> None:
        """Add bytes."""
        self._parts.append(part)

    def keep(self, start: int, end: int) -> None:
        """Keep bytes `start` to `end` of the file."""
        last = self._parts[-1] if self._parts else b""
        if isinstance(last, tuple) and last[1] == start:
            self._parts[-1] = last[0], end
        else:
            self._parts.append((start, end))

    def extend(self, others: Pieces) -> None:
        """Add all parts of others."""
        self._parts += others._parts

    def joined(self, stream: BinaryIO) -> BinaryIO:
        """All parts as one file that can be read and sought; nothing is copied before it is read."""
        return io.BufferedReader(_Joined(stream, self._parts), 1 << 16)


class _Joined(io.RawIOBase):
    def __init__(self, stream: BinaryIO, parts: list[bytes | tuple[int, int]]) -> None:
        self._stream = stream
        self._parts = parts
        self._starts = [0]
        for part in parts:
            length = len(part) if isinstance(part, bytes) else part[1] - part[0]
            self._starts.append(self._starts[-1] + length)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        # The last part that starts here or before; of empty parts, the one after them.
        number = bisect_right(self._starts, self._position) - 1
        if number >= len(self._parts):
            return 0
        part, offset = self._parts[number], self._position - self._starts[number]
        wanted = min(len(view), self._starts[number + 1] - self._position)
        if isinstance(part, bytes):
            found = part[offset : offset + wanted]
        else:
            self._stream.seek(part[0] + offset)
            found = self._stream.read(wanted)
        view[: len(found)] = found
        self._position += len(found)
        return len(found)


def length_of(stream: BinaryIO) -> int:
    """The bytes of a file."""
    return stream.seek(0, io.SEEK_END)


def read_at(stream: BinaryIO, position: int, count: int) -> bytes:
    """Read up to `count` bytes from a position on."""
    stream.seek(position)
    return stream.read(count)
