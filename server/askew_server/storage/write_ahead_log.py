"""SQLite's write-ahead log, looked at before SQLite opens it.

SQLite takes a log up to the first frame whose checksum does not fit, and drops the rest without a word: right after a
power cut, where the rest was never acknowledged; a silent loss where a bit has flipped in the middle. Frames behind the
bad one that hold together tell the two apart. The format: sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HEADER = 32
_FRAME_HEADER = 24
_MAGIC = 0x377F0682
_FRAMES_AT_ONCE = 1_024

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class LogDamage:
    """A log that SQLite would read only up to `frame` (from 0), of `frames` that belong to it.

    `commits`: whole transactions behind that frame, or begun after one that was. None: the log's end is torn, as by
    a crash in the middle of a write. One: perhaps a write that a power cut tore. Neither was acknowledged then.
    """

    path: Path
    frame: int
    frames: int
    commits: int

    @property
    def loses_acknowledged(self) -> bool:
        """Whether acknowledged writes are lost for certain."""
        return self.commits > 1


@dataclass(frozen=True)
class _Reading:
    """The frames of a log, summed in one byte order: which are whole, given the one before; what the header must sum to."""

    frames: NDArray[np.void]
    header_sums: NDArray[np.uint32]
    whole: NDArray[np.bool_]


def examine_log(database: Path) -> LogDamage | None:
    """Look at the log beside a database that nobody has open; None where it is whole or absent."""
    path = database.with_name(f"{database.name}-wal")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEADER:
        return None
    header = np.frombuffer(content[:_HEADER], dtype=">u4").astype(np.uint32)
    # The magic number's last bit tells in which byte order words are summed.
    stated = ">u4" if int(header[0]) & 1 else "<u4"
    reading = _read(content, header, stated)
    is_headed = int(header[0]) & ~1 == _MAGIC and np.array_equal(reading.header_sums, header[6:8])
    if not is_headed and not reading.whole.any():
        reading = _read(content, header, "<u4" if stated == ">u4" else ">u4")
    if not len(reading.frames):
        return None
    salts, whole = reading.frames["salts"], reading.whole
    if is_headed:
        # Frames of an earlier round of the log have other salts.
        belongs = np.all(salts == header[4:6], axis=1)
        broken = np.flatnonzero(~(whole & belongs))
        first = int(broken[0]) if len(broken) else len(whole)
    else:
        if not whole.any():
            return None
        belongs = np.all(salts == salts[np.flatnonzero(whole)[0]], axis=1)
        first = 0
    if not belongs[first:].any():
        return None
    behind = np.flatnonzero(whole & belongs & (np.arange(len(whole)) >= first))
    commits = reading.frames["commit"][behind] != 0
    # A frame behind the last commit began a transaction after that one was acknowledged.
    count = int(np.count_nonzero(commits)) + int(commits.any() and not commits[-1])
    return LogDamage(path, first, int(np.count_nonzero(belongs)), count)


def _read(content: bytes, header: NDArray[np.uint32], order: str) -> _Reading:
    page_size = int(header[2])
    # A header that is damaged there may be believed in nothing else; SQLite's own default is what Askew uses.
    is_size = 512 <= page_size <= 65_536 and page_size & (page_size - 1) == 0
    frames = _frames(content, page_size if is_size else 4_096)
    words = np.frombuffer(content[: _HEADER - 8], dtype=order).astype(np.uint32)
    header_sums = _sums(words[None], np.zeros((1, 2), dtype=np.uint32))[0]
    before = np.concatenate([header[None, 6:8], frames["sums"][:-1]]) if len(frames) else np.empty((0, 2), np.uint32)
    whole = np.zeros(len(frames), dtype=np.bool_)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        some = slice(start, start + _FRAMES_AT_ONCE)
        sums = _sums(_summed_words(frames[some], order), before[some])
        whole[some] = np.all(sums == frames["sums"][some], axis=1)
    return _Reading(frames, header_sums, whole)


def _frames(content: bytes, page_size: int) -> NDArray[np.void]:
    """The frames of a log as records; a part of one at the end is left out."""
    kind = np.dtype(
        [
            ("page", ">u4"),
            ("commit", ">u4"),
            ("salts", ">u4", 2),
            ("sums", ">u4", 2),
            ("content", "u1", page_size),
        ]
    )
    count = (len(content) - _HEADER) // kind.itemsize
    return np.frombuffer(content, dtype=kind, count=count, offset=_HEADER)


def _summed_words(frames: NDArray[np.void], order: str) -> Words:
    """What a frame's checksum is taken over: the first 8 bytes of its header, and its page: uint32 [n, w]."""
    # numpy stacks big-endian fields into native ones.
    head = np.stack([frames["page"], frames["commit"]], axis=1).astype(">u4").view("u1")
    together = np.concatenate([head, frames["content"]], axis=1)
    return np.ascontiguousarray(together).view(order).astype(np.uint32)


def _sums(words: Words, before: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """SQLite's two running sums behind each row of words, uint32 [n, w], begun with `before`, [n, 2]: uint32 [n, 2].

    For each pair (x, y): s += x + t; t += y + s. That is linear, so a row's sums are a matrix product modulo 2^32.
    """
    pairs = words.shape[1] // 2
    coefficients = np.empty((pairs, 2, 2), dtype=np.uint32)
    step = np.array([[1, 1], [1, 2]], dtype=np.uint64)
    entry = np.array([[1, 0], [1, 1]], dtype=np.uint64)
    power: NDArray[np.uint64] = np.eye(2, dtype=np.uint64)
    bits = np.uint64(0xFFFFFFFF)
    for position in range(pairs - 1, -1, -1):
        coefficients[position] = (power @ entry) & bits
        power = (power @ step) & bits
    grouped = words.reshape(len(words), pairs, 2)
    carried = (before.astype(np.uint64) @ power.T).astype(np.uint32)
    # Products and sums of uint32 wrap, as SQLite's do.
    own = np.stack(
        [np.sum(grouped * coefficients[None, :, row, :], axis=(1, 2), dtype=np.uint32) for row in (0, 1)], axis=1
    )
    return (carried + own).astype(np.uint32)
