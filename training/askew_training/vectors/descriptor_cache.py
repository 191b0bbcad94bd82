"""Vectors that were computed once, kept by the digest of the encoder and of the photo."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client import Encoder
from askew_client.errors import PhotoError
from askew_client.files import write_atomically

WRITTEN_EVERY = 2000
"""Photos between two writes: about a minute of work that a crash could lose."""


@dataclass(frozen=True)
class Described:
    """Unit vectors, float32 [D], by path, and a sentence for each photo that cannot be described."""

    vectors: dict[Path, NDArray[np.float32]]
    unreadable: list[str]


class DescriptorCache:
    """The vectors of one encoder file, in one file of a folder, by SHA-256 of each photo's bytes.

    An encoder that was exported differently, or a photo that was changed, has another digest and is described
    again. One that is missing or damaged is an empty one: it can always be computed again.
    """

    def __init__(self, folder: Path, encoder_file: Path) -> None:
        """Open the encoder and its cache. Raises what Encoder raises."""
        folder.mkdir(parents=True, exist_ok=True)
        # Photos are described side by side, one thread each: faster than one after the other on all cores.
        self.encoder = Encoder(encoder_file, threads=1)
        self.path = folder / f"{self.encoder.file.sha256}.npz"
        self._vectors = _read(self.path, self.encoder.manifest.dim)

    def describe(self, paths: Sequence[Path], on_photo: Callable[[], None]) -> Described:
        """Describe photos, those that are not known yet on all cores; calls `on_photo` after each.

        What was described is kept even when this is interrupted.
        """
        digests, unreadable = _digests(paths)
        unknown = [path for path, digest in digests.items() if digest not in self._vectors]
        for _ in range(len(paths) - len(unknown)):
            on_photo()
        unwritten = 0
        try:
            stream = self.encoder.encode_stream(unknown, workers=os.cpu_count() or 1)
            for path, result in zip(unknown, stream, strict=True):
                if isinstance(result, PhotoError):
                    unreadable.append(str(result))
                else:
                    self._vectors[digests[path]] = result
                    unwritten += 1
                if unwritten == WRITTEN_EVERY:
                    self._write()
                    unwritten = 0
                on_photo()
        finally:
            if unwritten:
                self._write()
        known = {path: self._vectors[digest] for path, digest in digests.items() if digest in self._vectors}
        return Described(known, unreadable)

    def _write(self) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, photos=np.array(list(self._vectors)), vectors=np.stack(list(self._vectors.values())))
        write_atomically(self.path, buffer.getvalue())


def _digests(paths: Sequence[Path]) -> tuple[dict[Path, str], list[str]]:
    """SHA-256 of each file, and a sentence for each that cannot be read."""
    digests: dict[Path, str] = {}
    unreadable: list[str] = []
    for path in paths:
        try:
            digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            unreadable.append(f"{path} cannot be read: {error.strerror}.")
    return digests, unreadable


def _read(path: Path, dim: int) -> dict[str, NDArray[np.float32]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            photos, vectors = content["photos"], content["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if vectors.shape != (len(photos), dim) or vectors.dtype != np.float32:
        return {}
    return {str(photo): vector for photo, vector in zip(photos, vectors, strict=True)}
