"""Describe photos in a child process at low priority: searches keep their core, and a crashing encoder cannot harm them."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.problems import ProblemKind
from askew_client.encoding.encoder import Encoder
from askew_client.errors import PhotoError
from askew_server.errors import Refusal
from askew_server.processes import begin_child

_NICENESS = 10

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Described = NDArray[np.float32] | PhotoError
"""The result for one photo: float32 [D] of unit length, or why it cannot be described."""


@dataclass(frozen=True)
class ProbeResult:
    """A candidate's vectors of the probe photos, float32 [n, D], its golden distances, and milliseconds a photo."""

    vectors: NDArray[np.float32]
    golden: dict[str, float]
    milliseconds_per_photo: float


class Describer:
    """One child process that describes photos. It is started on first use, and restarted if it has ended."""

    def __init__(self, *, max_waiting: int, max_pixels: int, processor_seconds: int | None = None) -> None:
        """`processor_seconds`: the system kills the child after this much processor time; None: no limit."""
        self._pool: ProcessPoolExecutor | None = None
        self._child: Future[int] | None = None
        self._places = threading.BoundedSemaphore(max_waiting)
        self._unfinished: set[Future[Any]] = set()
        self._max_pixels = max_pixels
        self._processor_seconds = processor_seconds

    def describe(self, encoder: Path, photo: bytes) -> Future[NDArray[np.float32]]:
        """Describe a photo file's bytes: float32 [D] of unit length. The future raises PhotoError, EncoderError.

        This method and those below raise Refusal (overloaded) if too many photos are waiting.
        """
        return self._submit(_describe, encoder, photo, self._max_pixels)

    def probe(self, encoder: Path, photos: list[Path]) -> Future[ProbeResult]:
        """Check an encoder's golden vectors and describe probe photos with it. The future raises EncoderError."""
        return self._submit(_probe, encoder, photos, self._max_pixels)

    def describe_files(self, encoder: Path, photos: list[Path]) -> Future[list[Described]]:
        """Describe photo files, one per core at a time: a vector or a PhotoError for each, in order."""
        return self._submit(_describe_files, encoder, photos, self._max_pixels)

    def time_photos(self, encoder: Path, photos: list[Path]) -> Future[float]:
        """Measure the seconds per photo when many are described. Photos that cannot be described count, too."""
        return self._submit(_time_photos, encoder, photos, self._max_pixels)

    @property
    def waiting(self) -> int:
        """How many photos wait or are being described."""
        return len(self._unfinished)

    def close(self) -> None:
        """End the child process once it has finished its task; tasks that wait are cancelled."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def kill(self) -> None:
        """End the child process at once; unfinished tasks fail with BrokenProcessPool."""
        if self._pool is None or self._child is None:
            return
        with contextlib.suppress(BrokenProcessPool):
            identity = self._child.result()
            for child in multiprocessing.active_children():
                if child.pid == identity:
                    child.kill()
        self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def _submit(
        self, task: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        if not self._places.acquire(blocking=False):
            raise Refusal(
                ProblemKind.OVERLOADED,
                "Too many photos are waiting to be described. Try again in 5 seconds.",
                retry_after=5,
            )
        try:
            try:
                future = self._open_pool().submit(task, *args, **kwargs)
            except BrokenProcessPool:
                self._pool = None
                future = self._open_pool().submit(task, *args, **kwargs)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # A forked child would share the engine's threads and the database's file locks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                1, mp_context=context, initializer=_begin_describing, initargs=(self._processor_seconds,)
            )
            self._child = self._pool.submit(os.getpid)
        return self._pool


def _begin_describing(processor_seconds: int | None) -> None:
    if processor_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds))
    begin_child(_NICENESS)


@functools.lru_cache(maxsize=2)
def _open_encoder(path: Path, max_pixels: int) -> Encoder:
    return Encoder(path, max_pixels=max_pixels)


def _describe(encoder: Path, photo: bytes, max_pixels: int) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = _open_encoder(encoder, max_pixels).encode(photo)
    return vector


@functools.lru_cache(maxsize=1)
def _open_for_many(path: Path, max_pixels: int) -> Encoder:
    # One photo per core with one thread each is faster than all cores on one photo, and decoding overlaps with it.
    return Encoder(path, threads=1, max_pixels=max_pixels)


def _describe_files(encoder: Path, photos: list[Path], max_pixels: int) -> list[Described]:
    return list(_open_for_many(encoder, max_pixels).encode_stream(photos, workers=os.cpu_count() or 1))


def _time_photos(encoder: Path, photos: list[Path], max_pixels: int) -> float:
    # The first inference also prepares the engine.
    _describe_files(encoder, photos[:1], max_pixels)
    started = time.perf_counter()
    _describe_files(encoder, photos, max_pixels)
    return (time.perf_counter() - started) / max(1, len(photos))


def _probe(path: Path, photos: list[Path], max_pixels: int) -> ProbeResult:
    encoder = Encoder(path, max_pixels=max_pixels)
    golden = encoder.check_golden()
    vectors = []
    started = time.perf_counter()
    for photo in photos:
        try:
            vectors.append(encoder.encode(photo))
        except PhotoError:
            # The candidate may have a smaller photo size than the teacher. A photo too thin for it counts against it.
            vectors.append(np.zeros(encoder.manifest.dim, dtype=np.float32))
    milliseconds = 1000 * (time.perf_counter() - started) / max(1, len(photos))
    shape = (len(photos), encoder.manifest.dim)
    return ProbeResult(np.array(vectors, dtype=np.float32).reshape(shape), golden, milliseconds)
