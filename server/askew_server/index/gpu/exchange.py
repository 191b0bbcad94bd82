"""What the server and the process of the GPU share: memory for vectors and answers, and small messages about it.

The memory is a ring of slots without a name, which lasts as long as one of the two processes. A slot belongs to the
server until it sends the request that names it, then to the child until it has answered. Both sides import this module,
perhaps with different interpreters: only the standard library and NumPy are used here.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

SLOTS = 4
QUERIES = 256
"""The most queries of one request."""
NEAREST = 2_048
"""The most rows found for one query: FAISS's kernels select no more."""

LONGEST_MESSAGE = 4_096
_REQUEST = struct.Struct("<cBQII")
_ANSWER = struct.Struct("<?Qd")
_LOAD = struct.Struct("<QQ")

Operation = Literal[b"L", b"S"]
LOAD: Operation = b"L"
"""Read the vectors of a `Load`, and hold them. The answer's slot then has queries and the true nearest rows, for a proof."""
SEARCH: Operation = b"S"
PROGRESS = 0
"""The number of an answer that only says that loading goes on."""
PROVED_BY = 128
"""Queries of the proof."""
PROVED_NEAREST = 10


class Request(NamedTuple):
    """`number`: of the request, counted from 1. `queries`: in the slot. `nearest`: rows wanted for each."""

    operation: bytes
    slot: int
    number: int
    queries: int
    nearest: int

    def packed(self) -> bytes:
        """The message."""
        return _REQUEST.pack(*self)

    @classmethod
    def unpacked(cls, message: bytes) -> Self:
        """The request of a message."""
        return cls(*_REQUEST.unpack(message))


class Answer(NamedTuple):
    """`number`: of the request. `value`: of a search, the seconds that it took; of loading, how many vectors are held.

    `failure`: a sentence if it did not succeed, else empty.
    """

    succeeded: bool
    number: int
    value: float
    failure: str = ""

    def packed(self) -> bytes:
        """The message, cut where it would be too long."""
        text = self.failure.encode()[: LONGEST_MESSAGE - _ANSWER.size]
        return _ANSWER.pack(self.succeeded, self.number, self.value) + text

    @classmethod
    def unpacked(cls, message: bytes) -> Self:
        """The answer of a message."""
        succeeded, number, value = _ANSWER.unpack_from(message)
        return cls(succeeded, number, value, message[_ANSWER.size :].decode(errors="replace"))


@dataclass(frozen=True)
class Ring:
    """The sizes of the shared memory, which both sides compute alike. `dim`: components of a vector."""

    dim: int

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot: queries, then scores, then rows."""
        return self._answer_offset + QUERIES * NEAREST * (4 + 8)

    @property
    def bytes(self) -> int:
        """Bytes of all slots. Only pages that are used take memory."""
        return SLOTS * self.slot_bytes

    @property
    def _answer_offset(self) -> int:
        # Rounded up, so that the rows, of 8 bytes, are aligned.
        return -(-QUERIES * self.dim * 4 // 8) * 8


class SharedMemory:
    """The slots of a ring, in memory that both processes map."""

    def __init__(self, ring: Ring, descriptor: int) -> None:
        """`descriptor`: of the memory, see `make_memory`."""
        self._ring = ring
        self._memory = mmap.mmap(descriptor, ring.bytes)

    def vectors(self, slot: int, count: int) -> NDArray[np.float32]:
        """The first vectors of a slot, float32 [count, D]."""
        start = slot * self._ring.slot_bytes
        flat = np.frombuffer(self._memory, np.float32, count * self._ring.dim, start)
        return flat.reshape(count, self._ring.dim)

    def answer(self, slot: int, count: int, nearest: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The scores and rows of a slot, float32 and int64 [count, nearest]."""
        start = slot * self._ring.slot_bytes + self._ring._answer_offset
        scores = np.frombuffer(self._memory, np.float32, count * nearest, start)
        rows = np.frombuffer(self._memory, np.int64, count * nearest, start + QUERIES * NEAREST * 4)
        return scores.reshape(count, nearest), rows.reshape(count, nearest)


class Load:
    """What to load, in memory that both processes see: a pickled source, and the labels of the vectors.

    The child writes the labels that it found over those that it was given.
    """

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of the memory, see `written`."""
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            stream.seek(0)
            source_bytes, count = _LOAD.unpack(stream.read(_LOAD.size))
            self.source = stream.read(source_bytes)
        self._memory = mmap.mmap(descriptor, 0)
        self._start = _labels_start(source_bytes)
        self.count = int(count)

    def labels(self, count: int) -> NDArray[np.int64]:
        """The first labels, int64 [count]."""
        return np.frombuffer(self._memory, np.int64, count, self._start)

    @classmethod
    def written(cls, source: bytes, labels: NDArray[np.int64]) -> int:
        """The descriptor of new memory that holds this."""
        descriptor = make_memory(_labels_start(len(source)) + labels.nbytes)
        with mmap.mmap(descriptor, 0) as memory:
            memory[: _LOAD.size] = _LOAD.pack(len(source), len(labels))
            memory[_LOAD.size : _LOAD.size + len(source)] = source
            memory[_labels_start(len(source)) :] = labels.tobytes()
        return descriptor


def make_memory(size: int) -> int:
    """The descriptor of new memory. It is not in /dev/shm, which containers often limit to 64 MB."""
    descriptor = os.memfd_create("askew-gpu")
    os.ftruncate(descriptor, size)
    return descriptor


def _labels_start(source_bytes: int) -> int:
    return -(-(_LOAD.size + source_bytes) // 8) * 8
