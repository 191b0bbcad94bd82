"""A cache of the vectors of any encoder, by the digests of the encoder and of each photo."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.errors import PhotoError
from askew_client.files import write_atomically
from askew_training.vectors.description import describe_photos, open_encoder, save_at_intervals

SAVED_EVERY = 60.0
"""Seconds between two writes: the most work that a crash can lose. Each write is of the whole file."""


@dataclass(frozen=True)
class Descriptors:
    """Unit vectors, float32 [D], by path, and by path a sentence for each photo that cannot be described."""

    vectors: dict[Path, NDArray[np.float32]]
    unreadable: dict[Path, str]


class DescriptorCache:
    """The vectors of one encoder file, in one file of a folder, by the SHA-256 of each photo's bytes.

    An encoder that was exported differently, or a photo that was changed, has another digest and is described again.
    A missing or damaged cache counts as empty, because it can always be computed again.
    """

    def __init__(self, folder: Path, encoder_file: Path) -> None:
        """Open the encoder and its cache. Raises what Encoder raises."""
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder = open_encoder(encoder_file)
        self.path = folder / f"{self.encoder.file.sha256}.npz"
        self._vectors = _read(self.path, self.encoder.manifest.dim)
        self._has_unsaved = False

    def describe(self, paths: Sequence[Path], on_photo: Callable[[], None]) -> Descriptors:
        """Describe photos, those that are not cached yet on all cores; `on_photo` is called after each.

        Vectors that were computed are kept even if this is interrupted.
        """
        digests, unreadable = _digests(paths)
        unknown = [path for path, digest in digests.items() if digest not in self._vectors]
        for _ in range(len(paths) - len(unknown)):
            on_photo()
        with save_at_intervals(self._save, SAVED_EVERY) as after_photo:
            for path, result in zip(unknown, describe_photos(self.encoder, unknown), strict=True):
                if isinstance(result, PhotoError):
                    unreadable[path] = str(result)
                else:
                    self._vectors[digests[path]] = result
                    self._has_unsaved = True
                on_photo()
                after_photo()
        known = {path: self._vectors[digest] for path, digest in digests.items() if digest in self._vectors}
        return Descriptors(known, unreadable)

    def _save(self) -> None:
        if not self._has_unsaved:
            return
        buffer = io.BytesIO()
        np.savez(buffer, photos=np.array(list(self._vectors)), vectors=np.stack(list(self._vectors.values())))
        write_atomically(self.path, buffer.getvalue())
        self._has_unsaved = False


def _digests(paths: Sequence[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
    """SHA-256 of each file, and a sentence for each file that cannot be read."""
    digests: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}
    for path in paths:
        try:
            digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            unreadable[path] = f"{path} cannot be read: {error.strerror}."
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
