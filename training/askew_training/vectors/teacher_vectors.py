"""Reading a teacher's vectors from their folder: mapped into memory, not loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import CacheError
from askew_training.vectors.manifest import MANIFEST, PROGRESS, VECTORS, CacheManifest, Progress, digest_of, read_record


class TeacherVectors:
    """The vectors of a complete cache, read only. Row i belongs to the photo `ids[i]`.

    The rows stay in the file and are read on request; only the ids are held in memory. May be read from
    several threads at the same time.
    """

    def __init__(self, folder: Path, manifest: CacheManifest) -> None:
        """Use `open` instead, which checks the folder."""
        self.folder = folder
        self.manifest = manifest
        self._rows: NDArray[np.float16 | np.float32] = np.memmap(
            folder / VECTORS, dtype=manifest.dtype.numpy, mode="r", shape=(manifest.count, manifest.dim)
        )
        self._index = {photo: i for i, photo in enumerate(manifest.ids)}

    @classmethod
    def open(cls, folder: Path, space_id: str | None = None) -> TeacherVectors:
        """Open a folder made by `askew cache`.

        `space_id`: the space that the vectors must lie in, if the caller knows it. Only the manifest is read; the
        vectors' digest is checked by `verify`. Raises CacheError for a folder that is not a cache, is incomplete, has
        files that do not fit each other, or holds another teacher's vectors.
        """
        manifest = _manifest_of(folder)
        if space_id is not None and manifest.space_id != space_id:
            raise CacheError(
                f"{folder} holds vectors of {manifest.encoder or 'a teacher'} in space {manifest.space_id}; expected "
                f"space {space_id}. Describe the photos with that space's teacher: `askew cache`."
            )
        path = folder / VECTORS
        size = path.stat().st_size if path.is_file() else 0
        if size != manifest.bytes_expected:
            raise CacheError(
                f"{path} has {size:,} bytes; expected {manifest.bytes_expected:,}, which is {manifest.count:,} vectors "
                f"of {manifest.dim} {manifest.dtype.value} values. Copy the folder again, or make it again."
            )
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def ids(self) -> tuple[str, ...]:
        """The photos' ids, by row."""
        return self.manifest.ids

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self.manifest.dim

    @property
    def space_id(self) -> str:
        """The space that the vectors lie in."""
        return self.manifest.space_id

    @property
    def photo_size(self) -> int | None:
        """The longest side in pixels at which the photos were described; None if unknown."""
        return self.manifest.photo_size

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Read some rows, in the given order: float32 [n, D], of unit length up to the rounding to f16.

        Raises IndexError for a row that does not exist; negative indices are not allowed.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise IndexError(f"expected rows from 0 to {len(self) - 1}, got {chosen.min()} to {chosen.max()}")
        return np.asarray(self._rows[chosen], dtype=np.float32)

    def index_of(self, photo: str) -> int:
        """Find the row of a photo. Raises CacheError if it has none, with the reason if it is known."""
        row = self._index.get(photo)
        if row is None:
            why = next((item.reason for item in self.manifest.unreadable if item.id == photo), None)
            raise CacheError(
                f"{self.folder} has no vector of {photo}: "
                + (why or "it was not among the photos that were described. Make the cache from the same photos.")
            )
        return row

    def __contains__(self, photo: object) -> bool:
        return photo in self._index

    def verify(self) -> None:
        """Read every byte and compare the digest with the manifest's. Raises CacheError when they differ."""
        found = digest_of(self.folder / VECTORS)
        if found != self.manifest.digest:
            raise CacheError(
                f"{self.folder / VECTORS} is damaged: its SHA-256 is {found[:12]}…, expected "
                f"{self.manifest.digest[:12]}…. Copy it again, or make the cache again in another folder."
            )


def _manifest_of(folder: Path) -> CacheManifest:
    try:
        return read_record(folder / MANIFEST, CacheManifest)
    except FileNotFoundError:
        pass
    try:
        progress = read_record(folder / PROGRESS, Progress)
    except FileNotFoundError:
        raise CacheError(f"{folder} holds no teacher vectors. Make them with `askew cache`.") from None
    raise CacheError(
        f"{folder} is not complete: {progress.handled:,} of {progress.total:,} photos. "
        "Run the same `askew cache` again; it continues where it stopped."
    )
