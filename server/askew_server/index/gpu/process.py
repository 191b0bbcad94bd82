"""The server's side of the process that owns the GPU: start it, let it load vectors, search, and know when it is lost.

The process has an interpreter of its own, perhaps of another environment (options.py). Vectors and answers go through
shared memory, messages of some bytes say which slot is whose (exchange.py). Nothing that the process does can raise
anything here but GpuLost and GpuLate.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import socket
import struct
import subprocess
import sys
import time
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

from askew_client.errors import AskewError
from askew_server.index.gpu.exchange import (
    LOAD,
    LONGEST_MESSAGE,
    NEAREST,
    PROGRESS,
    PROVED_BY,
    PROVED_NEAREST,
    QUERIES,
    SEARCH,
    SLOTS,
    Answer,
    Load,
    Operation,
    Request,
    Ring,
    SharedMemory,
    make_memory,
)
from askew_server.index.gpu.last_words import LastWords
from askew_server.index.gpu.options import GpuOptions
from askew_server.index.port import VectorSource
from askew_server.index.types import Labels, Rows, Scores, Vectors

PATIENCE = 10.0
"""How many times `answer_seconds` a search may take before the process counts as hung; until then it may still answer."""

_START_SECONDS = 120.0
"""CUDA and the kernels of a large library are loaded within this time, also on a busy machine."""
_LOAD_SECONDS = 300.0
"""While it loads, the process says something at least this often."""
_JOIN_SECONDS = 10.0
_END_SECONDS = 0.2
_MOST_LATE = 3
"""Searches in turn that a GPU may answer too late; each of them waited for nothing."""


class GpuLost(AskewError):
    """The process ended, or did something that it must not. A sentence; it is of no use any more."""


class GpuLate(Exception):
    """The process has not answered in time. It may still answer, and then serve the next search."""


class Proof(NamedTuple):
    """What was loaded, and queries whose true nearest are known: see proving.py.

    `labels`: of the rows that are held, int64 [n]. `queries`: float32 [128, D]. `scores`, `rows`: of their true nearest,
    float32 and int64 [128, 10], padded with -inf and -1.
    """

    labels: Labels
    queries: Vectors
    scores: Scores
    rows: Rows


class GpuProcess:
    """One child process. It belongs to one thread at a time; any thread may call `kill`."""

    def __init__(self, source: VectorSource, labels: Labels, options: GpuOptions) -> None:
        """Start it, to hold the vectors of these ascending labels. `source` is pickled. Raises GpuLost."""
        self._options = options
        ring = Ring(source.dim)
        memory, load = make_memory(ring.bytes), Load.written(pickle.dumps(source), labels)
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        life, self._life = os.pipe()
        passed = (theirs.fileno(), memory, load, life)
        try:
            self._memory, self._load = SharedMemory(ring, memory), Load(load)
            self._process = subprocess.Popen(
                [*_command(options), _config(ring, options), *map(str, passed)],
                pass_fds=passed, env=_environment(options), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            self._connection.close()
            os.close(self._life)
            raise GpuLost(f"The GPU's process could not be started: {error}.") from None
        finally:
            theirs.close()
            for descriptor in (memory, load, life):
                os.close(descriptor)
        self._last_words = LastWords(self._process.stderr)
        self._poll = select.poll()
        self._poll.register(self._connection, select.POLLIN)
        self._number = PROGRESS
        self._waiting: dict[int, int] = {}
        # The requests, with their slots, that were not answered in time, and since when.
        self._owed: dict[int, int] = {}
        self._owed_since = 0.0
        self._late_in_turn = 0
        self._lost: str | None = None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """A sentence if it is of no use any more. Never blocks; notices a process that ended or hangs, and late answers."""
        if self._lost is None and self._process.poll() is not None:
            self._lose(self._how_it_ended())
        elif self._lost is None and self._owed:
            self._take_late_answers()
            patience = PATIENCE * self._options.answer_seconds
            if self._owed and time.monotonic() - self._owed_since > patience:
                self._lose(f"The GPU's process did not answer a search within {patience:g} s.")
        return self._lost

    @property
    def is_late(self) -> bool:
        """Whether it owes an answer that no search waits for any more. Ask `lost` first, which takes late answers."""
        return bool(self._owed)

    def wait_until_ready(self) -> str:
        """Wait until it takes requests; which FAISS it uses, in words. Raises GpuLost with the reason why it does not."""
        greeting = self._receive(time.monotonic() + _START_SECONDS)
        if greeting is None:
            raise self._lose(f"The GPU's process did not start within {_START_SECONDS:g} s.")
        said, where = _read_greeting(greeting), self._options.environment
        if "failure" in said:
            raise self._lose(f"The GPU's process, which uses {where}, says: {said['failure'].rstrip('.')}.")
        if not {"askew", "engine", "python"} <= said.keys():
            raise self._lose(f"The GPU's process, which uses {where}, greets with something else than its version.")
        if said["askew"] != version("askew-server"):
            raise self._lose(
                f"Expected askew-server {version('askew-server')} in {where}, got {said['askew'][:40]}. Install the same "
                "version there."
            )
        return f"{said['engine']}, Python {said['python']}"

    def load(self) -> Proof:
        """Let it load the vectors, and wait for it. Another thread's `kill` ends the wait. Raises GpuLost."""
        self._send(LOAD, 0, 0, 0)
        answer = Answer(True, PROGRESS, 0.0)
        while answer.number == PROGRESS:
            message = self._receive(time.monotonic() + _LOAD_SECONDS)
            if message is None:
                raise self._lose(f"The GPU's process loaded no vectors for {_LOAD_SECONDS:g} s.")
            answer = self._unpacked(message)
        self._waiting.clear()
        if not answer.succeeded:
            raise self._lose(f"The GPU could not load the vectors: {answer.failure.rstrip('.')}.")
        if not answer.value:
            raise self._lose("The gallery has no vectors to copy to the GPU yet.")
        if not 0 < answer.value <= self._load.count:
            raise self._lose(f"The GPU's process says that it holds {answer.value:g} of {self._load.count} vectors.")
        scores, rows = self._memory.answer(0, PROVED_BY, PROVED_NEAREST)
        queries = self._memory.vectors(0, PROVED_BY)
        return Proof(self._load.labels(int(answer.value)).copy(), queries.copy(), scores.copy(), rows.copy())

    def search(self, queries: Vectors, count: int) -> tuple[Scores, Rows]:
        """The nearest rows: float32 and int64 [n, count], count up to NEAREST, padded with -inf and -1.

        Raises GpuLate if it takes longer than `answer_seconds`, GpuLost.
        """
        assert count <= NEAREST
        if self.lost is not None:
            raise GpuLost(self._lost)
        if self._owed:
            raise GpuLate
        deadline = time.monotonic() + self._options.answer_seconds
        found = (np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64))
        places: dict[int, slice] = {}
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            if len(self._waiting) == SLOTS:
                self._read_one(deadline, places, *found)
            slot = min(set(range(SLOTS)) - {*self._waiting.values()})
            self._memory.vectors(slot, len(part))[:] = part
            places[self._send(SEARCH, slot, len(part), count)] = slice(start, start + len(part))
        while self._waiting:
            self._read_one(deadline, places, *found)
        self._late_in_turn = 0
        return found

    def give_up(self, reason: str) -> None:
        """End it because it answers wrongly."""
        self._lose(reason)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        # A process that waits for the driver of its card may outlive this; it holds nothing that the server needs.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_JOIN_SECONDS)

    def close(self) -> None:
        """End it, and let go of what was shared with it. No other thread may use it any more."""
        self.kill()
        self._lost = self._lost or "The GPU's process was ended by the server."
        self._last_words.close()
        self._connection.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def _read_one(self, deadline: float, places: dict[int, slice], scores: Scores, rows: Rows) -> None:
        """Copy the next answer into its place. Raises GpuLate at the deadline: all that is waited for is owed then."""
        message = self._receive(deadline)
        if message is None:
            self._owed, self._waiting = self._waiting, {}
            self._owed_since = time.monotonic()
            self._late_in_turn += 1
            if self._late_in_turn > _MOST_LATE:
                raise self._lose(
                    f"The GPU answered {self._late_in_turn} searches in turn later than {self._options.answer_seconds:g} s. "
                    "Let gpu_answer_seconds be more, or use more GPUs."
                )
            raise GpuLate
        answer = self._unpacked(message)
        if answer.number not in self._waiting or answer.number not in places:
            raise self._lose("The GPU's process answered what it was not asked.")
        slot, place = self._waiting.pop(answer.number), places[answer.number]
        if not answer.succeeded:
            raise self._lose(f"The GPU could not search: {answer.failure.rstrip('.')}.")
        scores[place], rows[place] = self._memory.answer(slot, place.stop - place.start, rows.shape[1])

    def _take_late_answers(self) -> None:
        while self._owed and self._poll.poll(0):
            try:
                message = self._receive(time.monotonic())
                # One that goes on with other messages would keep this thread, which searches wait for.
                if message is not None and self._owed.pop(self._unpacked(message).number, None) is None:
                    raise self._lose("The GPU's process answered what it was not asked.")
            except GpuLost:
                return

    def _receive(self, deadline: float) -> bytes | None:
        """The next message; None at the deadline. Raises GpuLost."""
        if not self._poll.poll(max(0.0, 1e3 * (deadline - time.monotonic()))):
            return None
        try:
            message = self._connection.recv(LONGEST_MESSAGE)
        except OSError:
            message = b""
        if not message:
            raise self._lose(self._how_it_ended())
        return message

    def _unpacked(self, message: bytes) -> Answer:
        try:
            return Answer.unpacked(message)
        except struct.error:
            raise self._lose("The GPU's process sent a message that is no answer.") from None

    def _send(self, operation: Operation, slot: int, count: int, nearest: int) -> int:
        self._number += 1
        try:
            self._connection.send(Request(operation, slot, self._number, count, nearest).packed())
        except OSError:
            raise self._lose(self._how_it_ended()) from None
        self._waiting[self._number] = slot
        return self._number

    def _lose(self, reason: str) -> GpuLost:
        """It is of no use from now on: it is ended, and `lost` says why."""
        self._lost = self._lost or reason
        self._process.kill()
        return GpuLost(self._lost)

    def _how_it_ended(self) -> str:
        try:
            # A search waits for this. An end that takes longer, in CUDA's driver perhaps, is not waited for.
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "The GPU's process closed its connection."
        return self._last_words.sentence(code)


def _read_greeting(message: bytes) -> dict[str, str]:
    """The texts that a process says of itself; empty if it is no greeting."""
    try:
        said = json.loads(message)
    # ValueError: also for bytes that are no text.
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) and all(isinstance(each, str) for each in said.values()) else {}


def _command(options: GpuOptions) -> list[str]:
    # -P: the folder in which the server was started must not provide modules.
    return [str(options.python or sys.executable), "-P", "-m", "askew_server.index.gpu.child"]


def _config(ring: Ring, options: GpuOptions) -> str:
    config = {"dim": ring.dim, "engine": options.engine_module}
    return json.dumps({**config, "devices": len(options.devices), "layout": options.layout})


def _environment(options: GpuOptions) -> dict[str, str]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    if not options.is_on_cpu:
        # nvidia-smi numbers the cards in this order, too.
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(options.devices)}
    return environment
