"""Describing photos with an encoder file, on the CPU, or on the GPU if onnxruntime-gpu is installed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client.contract.encoder_file import EncoderFile, read_encoder_file
from askew_client.contract.errors import (
    ClientMisused,
    DamagedEncoder,
    EncoderFailed,
    NotAnEncoder,
    PhotoError,
    UnreadablePhoto,
    WireError,
)
from askew_client.contract.manifest import Manifest
from askew_client.contract.wire import check_vector
from askew_client.cores import usable_cores
from askew_client.encoding.decoder import load_decoders
from askew_client.encoding.engines import refuse_several
from askew_client.encoding.golden import golden_pictures
from askew_client.encoding.photos import MAX_PIXELS, Photo, check_shape, name_of, photo_border, read_photo
from askew_client.encoding.runtime import ENGINE_HINT, load_onnxruntime, open_session
from askew_client.forks import undivided

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session

FURTHEST = 2.0
"""The largest cosine distance."""

OneVector = np.ndarray[tuple[int], np.dtype[np.float32]]
"""float32 [D]."""
Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""float32 [n, D]."""


@dataclass(frozen=True)
class _Engine:
    """A session, and the process that has its threads."""

    process: int
    session: Session


class Encoder:
    """One encoder file, ready to describe photos.

    Each photo is described alone and at its own aspect ratio, so that its vector does not depend on the photos that are
    described with it. An Encoder may be used from several threads. A process that was forked, or that was sent an Encoder,
    reads the file again when it first describes a photo, and refuses another one in its place.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None, max_pixels: int = MAX_PIXELS) -> None:
        """Read, verify and load an encoder file.

        `threads`: how many threads one inference uses; None: one for each core that the process may use. `max_pixels`: photos with more pixels
        are refused before they are decoded. Raises NotAnEncoder, DamagedEncoder, UnknownManifest, EngineMissing.
        """
        self.path = Path(path)
        self.file: EncoderFile = read_encoder_file(self.path)
        self.max_pixels = max_pixels
        self._threads = threads
        # A process that reads it again may be in another folder by then.
        self._origin = self.path.absolute()
        self._engine: _Engine | None = _Engine(os.getpid(), _open_session(self.path, threads))
        self._opening = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """All that can be pickled: not the engine's session, and no lock."""
        return {"path": self._origin, "file": self.file, "max_pixels": self.max_pixels, "_threads": self._threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._origin = self.path
        self._engine, self._opening = None, threading.Lock()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the encoder file."""
        return self.file.manifest

    @property
    def space_id(self) -> str:
        """The space of this encoder's vectors."""
        return self.file.manifest.space_id

    # A str is a sequence of str, too, and means one path: the first signature that fits is the one that counts.
    @overload
    def encode(self, photos: Photo) -> OneVector: ...  # type: ignore[overload-overlap]

    @overload
    def encode(self, photos: Sequence[Photo]) -> Vectors: ...

    def encode(self, photos: Photo | Sequence[Photo]) -> OneVector | Vectors:
        """Describe one photo or several.

        A photo is a path, the bytes of a JPEG, PNG, WebP, HEIC or AVIF file, a PIL image, or a uint8 [H, W, 3] RGB array. Returns the
        float32 [D] unit vector of a photo; of a list or tuple of n photos (n may be 0 or 1) float32 [n, D], in its order.
        Raises UnreadablePhoto, PhotoTooLarge, PhotoTooThin, EncoderFailed.
        """
        if isinstance(photos, str | Path | bytes | Image.Image | np.ndarray):
            return self._describe(photos)
        if not isinstance(photos, Iterable):
            raise UnreadablePhoto(
                f"Expected a photo (a path, the bytes of a file, an image, a uint8 [H, W, 3] array) or a list of photos, got "
                f"{type(photos).__name__}."
            )
        vectors = [self._describe(photo) for photo in photos]
        return np.stack(vectors) if vectors else np.empty((0, self.manifest.dim), dtype=np.float32)

    def __repr__(self) -> str:
        manifest = self.manifest
        return f"Encoder({str(self.path)!r}: {manifest.encoder_id}, {manifest.role}, [{manifest.dim}] in {manifest.space_id})"

    def encode_pixels(self, pixels: NDArray[np.uint8]) -> OneVector:
        """Describe one decoded photo, uint8 [H, W, 3] RGB: float32 [D], unit length.

        Raises PhotoTooThin, and EncoderFailed if the engine fails or its vector is not finite or not of length 1.
        """
        vector = self._infer(pixels)
        try:
            check_vector(vector)
        except WireError:
            raise EncoderFailed(
                f"{self.path} describes a photo of {pixels.shape[1]} × {pixels.shape[0]} px by {_fault(vector)}. Expected a "
                "vector of length 1. Use another encoder, or export this one again."
            ) from None
        return vector

    def encode_stream(self, photos: Iterable[Photo], *, workers: int) -> Iterator[NDArray[np.float32] | PhotoError]:
        """Describe many photos, several at a time; decoding and inference overlap.

        Yields, in the order of the photos, a float32 [D] unit vector, or the PhotoError of a photo that cannot be
        described. `workers`: how many photos are decoded and described in parallel; open the encoder with `threads=1`
        for this. At most three photos for each worker are in memory. Raises ClientMisused in a process that was forked in its
        middle.
        """
        process = os.getpid()
        with contextlib.closing(self._stream(photos, workers)) as vectors:
            for vector in vectors:
                yield vector
                if os.getpid() != process:
                    raise ClientMisused(
                        "Expected a stream of vectors to be read by the process that began it: its threads are not in this "
                        "one, which was forked since. Call encode_stream again, in this process."
                    )

    def _infer(self, pixels: NDArray[np.uint8]) -> OneVector:
        """What the network makes of a decoded photo, float32 [D], whether or not it is a vector of length 1."""
        check_shape(pixels.shape[0], pixels.shape[1], self.manifest.photo_size)
        session = self._session_here()
        try:
            (descriptors,) = session.run(["descriptor"], {"image": pixels[None]})
        # onnxruntime's exceptions have no common base class below Exception.
        except Exception as error:  # noqa: BLE001
            raise EncoderFailed(
                f"{self.path} cannot describe a photo of {pixels.shape[1]} × {pixels.shape[0]} px: onnxruntime reports "
                f"{_reason(error)}. Use another encoder, or export this one again."
            ) from None
        # The engine's own array would be given back to it when it is dropped, in a forked process to one that is not there.
        vector: OneVector = descriptors[0].copy()
        return vector

    def golden_distances(self) -> dict[str, float]:
        """Recompute the golden vectors: the cosine distance to the recorded vector, by picture; 2, the largest, for no direction.

        Raises DamagedEncoder if the file records a picture that this package does not have.
        """
        pictures = golden_pictures()
        distances = {}
        for name in self.manifest.golden:
            if name not in pictures:
                raise DamagedEncoder(
                    f"{self.path} records a vector of the picture {name!r}, which this Askew does not have. Upgrade "
                    "Askew, or export the encoder again."
                )
            vector = self._infer(pictures[name]).astype(np.float64)
            recorded = self.manifest.golden_vector(name).astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                cosine = float(vector @ recorded / (np.linalg.norm(vector) * np.linalg.norm(recorded)))
            # NaN is not smaller than anything: an engine that computes NaN, or zeros, computes wrongly.
            distances[name] = max(0.0, 1.0 - cosine) if np.isfinite(cosine) else FURTHEST
        return distances

    def check_golden(self) -> dict[str, float]:
        """As golden_distances. Raises DamagedEncoder if a distance exceeds the manifest's tolerance."""
        distances = self.golden_distances()
        worst = max(distances, key=lambda name: distances[name])
        if not distances[worst] <= self.manifest.tolerance:
            raise DamagedEncoder(
                f"{self.path} does not compute its own golden vectors on this machine: picture {worst!r} is off by "
                f"{distances[worst]:.2e} in cosine distance, and at most {self.manifest.tolerance:.0e} is allowed. "
                "Compare the file with the published one. If they are equal, onnxruntime computes wrongly here."
            )
        return distances

    def _session_here(self) -> Session:
        """This process's session: a parent's threads are not in its forked child. Raises what a new Encoder raises."""
        engine = self._engine
        if engine is None or engine.process != os.getpid():
            # The first of several threads opens it for all. No fork finds the lock taken.
            with undivided(), self._opening:
                engine = self._engine
                if engine is None or engine.process != os.getpid():
                    engine = self._engine = self._engine_here()
        return engine.session

    def _engine_here(self) -> _Engine:
        """A session of this process. Raises DamagedEncoder for another file, and what a new Encoder raises."""
        if read_encoder_file(self._origin).sha256 != self.file.sha256:
            raise DamagedEncoder(
                f"{self._origin} is another file than the one that this encoder was opened from, in another process "
                f"({self.file.sha256[:12]}…). Open the encoder again, in this process."
            )
        return _Engine(os.getpid(), _open_session(self._origin, self._threads))

    def _stream(self, photos: Iterable[Photo], workers: int) -> Generator[NDArray[np.float32] | PhotoError]:
        with ThreadPoolExecutor(workers, thread_name_prefix="describe") as pool:
            waiting: deque[Future[NDArray[np.float32] | PhotoError]] = deque()
            stopped = threading.Event()
            try:
                for photo in photos:
                    waiting.append(pool.submit(self._encode_or_error, photo, stopped))
                    if len(waiting) >= 3 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                stopped.set()

    def _encode_or_error(self, photo: Photo, stopped: threading.Event) -> NDArray[np.float32] | PhotoError:
        if stopped.is_set():
            return PhotoError("stopped")
        try:
            return self._describe(photo)
        except PhotoError as error:
            return error
        # The engine may fail on this photo and not on the next one.
        except EncoderFailed as error:
            return PhotoError(str(error))

    def _describe(self, photo: Photo) -> OneVector:
        """Describe one photo: float32 [D], unit length. Whatever is raised on the way becomes a PhotoError."""
        with photo_border(name_of(photo), self.max_pixels):
            return self.encode_pixels(read_photo(photo, max_pixels=self.max_pixels))


def _open_session(path: Path, threads: int | None) -> Session:
    load_decoders()
    onnxruntime = load_onnxruntime()
    refuse_several(("onnxruntime", "onnxruntime-gpu"), ENGINE_HINT)
    options = onnxruntime.SessionOptions()
    # What the engine has to say is in its exceptions; a line of its own on stderr would be twice.
    options.log_severity_level = 4
    # Photos have many shapes: memory patterns and a doubling arena would keep memory for the largest of each shape.
    options.enable_mem_pattern = False
    cores = usable_cores()
    if threads is None and cores < (os.cpu_count() or 1):
        # onnxruntime would start one for each of the machine's cores, whatever a container's quota.
        threads = cores
    if threads is not None:
        options.intra_op_num_threads = threads
    cpu = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    available = onnxruntime.get_available_providers()
    # By default, a GPU searches exhaustively for algorithms at every new shape of a photo, and rounds products to 10 bits.
    gpu = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})
    providers = [gpu, cpu] if gpu[0] in available else [cpu]
    try:
        session = open_session(path, options, providers)
    # onnxruntime's exceptions have no common base class below Exception.
    except Exception as error:  # noqa: BLE001
        raise NotAnEncoder(f"{path} cannot be loaded by onnxruntime: {_reason(error)}. Export it again.") from None
    names = {tensor.name for tensor in session.get_inputs()}, {tensor.name for tensor in session.get_outputs()}
    if names[0] != {"image"} or "descriptor" not in names[1]:
        raise NotAnEncoder(
            f"Expected {path} to have an input `image` and an output `descriptor`. Export it with `askew export`."
        )
    return session


def _fault(vector: OneVector) -> str:
    """What keeps a vector from being one of length 1, in words."""
    if not np.isfinite(vector).all():
        return "NaN or infinite values"
    return f"a vector of length {np.linalg.norm(vector.astype(np.float64)):.4g}"


def _reason(error: Exception) -> str:
    """The first line of an engine's message, or the name of an exception without one."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    # Behind the code and its name comes the message.
    message = lines[0].rpartition(" : ")[2] if lines[0].startswith("[ONNXRuntimeError]") else lines[0]
    return message[:200].rstrip(". ")
