"""Vectors that were computed once, kept by the digest of the encoder and of the photo."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client import Encoder
from askew_client.errors import PhotoError
from askew_client.files import write_atomically


class DescriptorCache:
    """The vectors of one encoder file, in one file of a folder, by SHA-256 of each photo's bytes.

    An encoder that was exported again, or a photo that was changed, has another digest and is described
    again.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder = encoder
        self.path = folder / f"{encoder.file.sha256}.npz"
        self._vectors = _read(self.path, encoder.manifest.dim)

    def describe(
        self, paths: Sequence[Path], on_photo: Callable[[], None]
    ) -> tuple[dict[Path, NDArray[np.float32]], list[str]]:
        """Describe photos: float32 [D] unit vectors by path, and a sentence for each that cannot be
        described.

        Calls `on_photo` after each. What was described is kept even when this is interrupted.
        """
        described: dict[Path, NDArray[np.float32]] = {}
        unreadable: list[str] = []
        known = len(self._vectors)
        try:
            for path in paths:
                try:
                    described[path] = self._vector(path)
                except PhotoError as error:
                    unreadable.append(str(error))
                except OSError as error:
                    unreadable.append(f"{path} cannot be read: {error.strerror}.")
                on_photo()
        finally:
            if len(self._vectors) > known:
                self._write()
        return described, unreadable

    def _vector(self, path: Path) -> NDArray[np.float32]:
        key = hashlib.sha256(path.read_bytes()).hexdigest()
        if key not in self._vectors:
            self._vectors[key] = self.encoder.encode(path)[0]
        return self._vectors[key]

    def _write(self) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, photos=np.array(list(self._vectors)), vectors=np.stack(list(self._vectors.values())))
        write_atomically(self.path, buffer.getvalue())


def _read(path: Path, dim: int) -> dict[str, NDArray[np.float32]]:
    """A cache that is missing or damaged is an empty one: it can always be computed again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            photos, vectors = content["photos"], content["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if vectors.shape != (len(photos), dim) or vectors.dtype != np.float32:
        return {}
    return {str(photo): vector for photo, vector in zip(photos, vectors, strict=True)}
