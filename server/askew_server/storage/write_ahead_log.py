"""Examines SQLite's write-ahead log before SQLite opens it.

SQLite reads a log up to the first frame whose checksum is wrong and silently drops the rest. That is right after a power
cut, where the rest was never acknowledged. Where a bit has flipped in the middle, it silently loses acknowledged writes.
Valid frames after the bad one tell the two cases apart. Format: sqlite.org/fileformat2.html#the_write_ahead_log.
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
    """A log of `frames` frames that SQLite would read only up to `frame`, counted from 0.

    `commits`: transactions after that frame that were committed, or begun after a committed one. 0: the end of the log
    is torn, as by a crash during a write. 1: possibly a write that a power cut tore. In both cases nothing that was
    acknowledged is lost.
    """

    path: Path
    frame: int
    frames: int
    commits: int

    @property
    def loses_acknowledged(self) -> bool:
        """Whether acknowledged writes are certainly lost."""
        return self.commits > 1


@dataclass(frozen=True)
class _Checked:
    """A log whose checksums were computed in one byte order.

    `header_sums`: the checksum that the header should have, uint32 [2]. `valid`: whether each frame's checksum is right,
    given the frame before it, bool [n].
    """

    frames: NDArray[np.void]
    header_sums: NDArray[np.uint32]
    valid: NDArray[np.bool_]


def examine_log(database: Path) -> LogDamage | None:
    """Examine the log of a database that is not open anywhere; None if the log is intact or absent."""
    path = database.with_name(f"{database.name}-wal")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEADER:
        return None
    header = np.frombuffer(content[:_HEADER], dtype=">u4").astype(np.uint32)
    # The last bit of the magic number says in which byte order checksums are computed.
    stated = ">u4" if int(header[0]) & 1 else "<u4"
    log = _check(content, header, stated)
    has_valid_header = int(header[0]) & ~1 == _MAGIC and np.array_equal(log.header_sums, header[6:8])
    if not has_valid_header and not log.valid.any():
        log = _check(content, header, "<u4" if stated == ">u4" else ">u4")
    if not len(log.frames):
        return None
    salts, valid = log.frames["salts"], log.valid
    if has_valid_header:
        # Frames left from an earlier use of the file have other salts.
        belongs = np.all(salts == header[4:6], axis=1)
        broken = np.flatnonzero(~(valid & belongs))
        first = int(broken[0]) if len(broken) else len(valid)
    else:
        if not valid.any():
            return None
        belongs = np.all(salts == salts[np.flatnonzero(valid)[0]], axis=1)
        first = 0
    if not belongs[first:].any():
        return None
    after = np.flatnonzero(valid & belongs & (np.arange(len(valid)) >= first))
    commits = log.frames["commit"][after] != 0
    # A frame after the last commit began a transaction after that one was acknowledged.
    count = int(np.count_nonzero(commits)) + int(commits.any() and not commits[-1])
    return LogDamage(path, first, int(np.count_nonzero(belongs)), count)


def _check(content: bytes, header: NDArray[np.uint32], order: str) -> _Checked:
    page_size = int(header[2])
    # A damaged header may state an impossible size; Askew's databases have SQLite's default.
    is_size = 512 <= page_size <= 65_536 and page_size & (page_size - 1) == 0
    frames = _frames(content, page_size if is_size else 4_096)
    words = np.frombuffer(content[: _HEADER - 8], dtype=order).astype(np.uint32)
    header_sums = _sums(words[None], np.zeros((1, 2), dtype=np.uint32))[0]
    before = np.concatenate([header[None, 6:8], frames["sums"][:-1]]) if len(frames) else np.empty((0, 2), np.uint32)
    valid = np.zeros(len(frames), dtype=np.bool_)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        some = slice(start, start + _FRAMES_AT_ONCE)
        sums = _sums(_summed_words(frames[some], order), before[some])
        valid[some] = np.all(sums == frames["sums"][some], axis=1)
    return _Checked(frames, header_sums, valid)


def _frames(content: bytes, page_size: int) -> NDArray[np.void]:
    """The frames of a log as records; an incomplete one at the end is left out."""
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
    """What a frame's checksum covers, the first 8 bytes of its header and its page: uint32 [n, w]."""
    # numpy stacks big-endian fields into native ones, so they are converted back.
    head = np.stack([frames["page"], frames["commit"]], axis=1).astype(">u4").view("u1")
    together = np.concatenate([head, frames["content"]], axis=1)
    return np.ascontiguousarray(together).view(order).astype(np.uint32)


def _sums(words: Words, before: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """SQLite's checksums of rows of words, uint32 [n, w], each continued from `before`, [n, 2]: uint32 [n, 2].

    For each pair of words (x, y), SQLite computes s += x + t; t += y + s. That is linear, so the sums of a row are a
    matrix product modulo 2^32.
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
