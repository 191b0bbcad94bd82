"""Describe photos in child processes at low priority: searches keep their core, and no encoder can harm them or each other."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.problems import ProblemKind
from askew_client.cores import usable_cores
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.runtime import load_onnxruntime
from askew_client.errors import EncoderError, EncoderFailed, EngineMissing, PhotoError
from askew_server.errors import PhotoNotDescribed, Refusal
from askew_server.processes import ChildLost, LimitExceeded, Limits, Say, bounded_address_space
from askew_server.workers import Workers

MOST_CHILDREN = 3
"""Children that describe for requests at once, where photos take long; the slow photos of one gallery leave one to others."""

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
    """Describes photos in child processes, which are started on first use, and replaced when they end."""

    def __init__(self, *, max_waiting: int, max_pixels: int, limits: Limits, most_children: int = 1) -> None:
        """`max_waiting`: photos that may wait, of which one gallery may have three quarters. `limits`: for one photo."""
        self._workers = Workers("describe", most=most_children)
        self._max_waiting = max_waiting
        self._places = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._max_pixels = max_pixels
        self._limits = limits

    def describe(self, encoder: Path, photo: bytes) -> Future[NDArray[np.float32]]:
        """Describe a photo file's bytes: float32 [D] of unit length. Cancelling the future stops the work.

        The future raises PhotoError, EncoderError; LimitExceeded, ChildLost, ChildStopped (see `refusal_of`). This method
        and those below raise Refusal (overloaded) if too many photos are waiting, of this gallery or of all.
        """
        # A child may be lost for lack of memory elsewhere. Lost twice, it was the photo.
        return self._submit(_describe, encoder, self._limits, 2, _ignore, photo)

    def describe_files(self, encoder: Path, photos: list[Path], hear: Callable[[Described], None]) -> Future[None]:
        """Describe photo files, one per core at a time; `hear` gets a vector or a PhotoError for each, in order."""
        return self._submit(_describe_files, encoder, self._limits_for(len(photos)), 1, hear, photos)

    def time_photos(self, encoder: Path, photos: list[Path]) -> Future[float]:
        """Measure the seconds per photo when many are described. Photos that cannot be described count, too."""
        return self._submit(_time_photos, encoder, self._limits_for(len(photos)), 1, _ignore, photos)

    @property
    def waiting(self) -> int:
        """How many photos wait or are being described."""
        return self._taken.total()

    def close(self) -> None:
        """End the child processes at once; unfinished tasks fail with ChildStopped."""
        self._workers.close()

    def _limits_for(self, count: int) -> Limits:
        """For this many photos, one after another, of which each core works on one."""
        cores, one = min(count, usable_cores()), self._limits
        return replace(
            one,
            processor_seconds=None if one.processor_seconds is None else cores * one.processor_seconds,
            memory_bytes=None if one.memory_bytes is None else cores * one.memory_bytes,
            for_each_message=True,
        )

    def _submit(
        self,
        task: Callable[Concatenate[Say, Path, int, int | None, Arguments], Result],
        encoder: Path,
        limits: Limits,
        tries: int,
        hear: Callable[[Any], None],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        # An encoder's file lies in the folder of its gallery.
        group = str(encoder.parent)
        self._take_place(group)
        try:
            future = self._workers.submit(
                task, limits, group, tries, hear, encoder, self._max_pixels, limits.memory_bytes, *args, **kwargs
            )
        except BaseException:
            self._free_place(group)
            raise
        future.add_done_callback(lambda _: self._free_place(group))
        return future

    def _take_place(self, group: str) -> None:
        most_of_one = max(1, self._max_waiting - self._max_waiting // 4)
        with self._places:
            if self.waiting >= self._max_waiting or self._taken[group] >= most_of_one:
                raise Refusal(
                    ProblemKind.OVERLOADED,
                    "Too many photos are waiting to be described. Try again in 5 seconds.",
                    retry_after=5,
                )
            self._taken[group] += 1

    def _free_place(self, group: str) -> None:
        with self._places:
            self._taken[group] -= 1
            if not self._taken[group]:
                del self._taken[group]


def refusal_of(error: LimitExceeded | ChildLost) -> PhotoNotDescribed:
    """Why a photo could not be described whose child was killed or ended."""
    if isinstance(error, LimitExceeded):
        return PhotoNotDescribed(
            f"The photo was not described: {error.what}, which is the most that one may use here, so it was stopped. "
            "Shrink the photo, or use a smaller encoder; the server's settings photo_seconds, photo_processor_seconds and "
            "photo_memory_bytes allow more."
        )
    return PhotoNotDescribed(
        f"The photo was not described: the process that did it ended early ({error}). Try the photo with "
        "`askew check-photos`, and the encoder with `askew check`."
    )


def probe(say: Say, path: Path, max_pixels: int, memory_bytes: int | None, photos: list[Path]) -> ProbeResult:
    """Check an encoder's golden vectors and describe probe photos with it, in a child. Raises EncoderError."""
    with _bounded(memory_bytes):
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


@functools.lru_cache(maxsize=2)
def _open_encoder(path: Path, max_pixels: int) -> Encoder:
    return Encoder(path, max_pixels=max_pixels)


def _describe(_: Say, path: Path, max_pixels: int, memory_bytes: int | None, photo: bytes) -> NDArray[np.float32]:
    with _bounded(memory_bytes):
        vector: NDArray[np.float32] = _open_encoder(path, max_pixels).encode(photo)
        return vector


@functools.lru_cache(maxsize=1)
def _open_for_many(path: Path, max_pixels: int) -> Encoder:
    # One photo per core with one thread each is faster than all cores on one photo, and decoding overlaps with it.
    return Encoder(path, threads=1, max_pixels=max_pixels)


def _describe_files(say: Say, path: Path, max_pixels: int, memory_bytes: int | None, photos: list[Path]) -> None:
    with _bounded(memory_bytes):
        for described in _open_for_many(path, max_pixels).encode_stream(photos, workers=usable_cores()):
            say(_without_engines_words(described, memory_bytes))


def _time_photos(say: Say, path: Path, max_pixels: int, memory_bytes: int | None, photos: list[Path]) -> float:
    # The first inference also prepares the engine.
    _describe_files(say, path, max_pixels, memory_bytes, photos[:1])
    started = time.perf_counter()
    _describe_files(say, path, max_pixels, memory_bytes, photos)
    return (time.perf_counter() - started) / max(1, len(photos))


@contextmanager
def _bounded(memory_bytes: int | None) -> Iterator[None]:
    """Let the engine allocate at most this much more. Raises EncoderError, in a sentence, where it asks for more."""
    try:
        with bounded_address_space(None if _uses_gpu() else memory_bytes):
            yield
    except (EncoderError, MemoryError) as error:
        if memory_bytes is None or not _is_out_of_memory(error):
            raise
        raise EncoderFailed(_too_much(memory_bytes)) from error


@functools.cache
def _uses_gpu() -> bool:
    try:
        return "CUDAExecutionProvider" in load_onnxruntime().get_available_providers()
    # Opening the encoder says what to install.
    except EngineMissing:
        return False


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an engine's message means that it got no memory; onnxruntime has no exception of its own for that."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in ("bad_alloc", "allocat", "out of memory"))


def _without_engines_words(described: Described, memory_bytes: int | None) -> Described:
    """A photo for which the engine got no memory is refused with our sentence."""
    if memory_bytes is not None and isinstance(described, PhotoError) and _is_out_of_memory(described):
        return PhotoError(_too_much(memory_bytes))
    return described


def _too_much(memory_bytes: int) -> str:
    return (
        f"Describing a photo with this encoder needs more than {memory_bytes / 1e6:,.0f} MB of memory, which is the most "
        "that it may use here. Use a smaller encoder or photo; the server's setting photo_memory_bytes allows more."
    )


def _ignore(_: object) -> None:
    """What a child says while the caller waits for its result alone."""
