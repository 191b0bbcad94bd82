"""Reading vectors in blocks from folders or files of any length, within the memory of one block.

Files are read, not mapped: pages of a mapped file count as memory of the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from askew_training.errors import CacheError
from askew_training.vectors.manifest import MANIFEST, PROGRESS, VECTORS
from askew_training.vectors.npy_import import NO_HEADER
from askew_training.vectors.teacher_vectors import TeacherVectors

ROWS_AT_ONCE = 8192
"""At 2,048 dimensions 67 MB as float32, and half of that beside it while f16 is converted."""
CHECKED_EACH = 64
"""One row of so many is checked to have unit length."""
LENGTH_TOLERANCE = 1e-2


@dataclass(frozen=True)
class _Shard:
    """Part of a stream. `offset`: of the first row in bytes. `columns_first`: stored as [D, N], a column for each photo."""

    file: Path
    dtype: DTypeLike
    count: int
    offset: int
    columns_first: bool = False


@dataclass(frozen=True)
class VectorBlocks:
    """Vectors of unit length in the order of their files. Iterating reads them: float32 [b, D], b up to ROWS_AT_ONCE.

    `ids`: of the rows, empty if the files have none. `unreadable`: ids of photos without a row. `origin`: a few words.
    """

    dim: int
    shards: tuple[_Shard, ...]
    ids: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    origin: str = ""
    rows_at_once: int = field(default=ROWS_AT_ONCE, kw_only=True)

    def __len__(self) -> int:
        return sum(shard.count for shard in self.shards)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Raises CacheError for a file that is shorter than it was, and for rows that are not of unit length."""
        for shard in self.shards:
            start = 0
            for block in _read(shard, self.dim, self.rows_at_once):
                _check_lengths(block, shard.file, start)
                start += len(block)
                yield block


def open_blocks(path: Path, dim: int, space_id: str | None, encoder_sha256: str | None = None) -> VectorBlocks:
    """Open a `.npy` file, a folder of them, a folder made by `askew cache`, or a folder of such folders.

    `.npy` files hold float16, float32 or float64 [N, D], or [D, N] as long as N ≠ D; those of a folder are read in the order
    of their names. `space_id`: that caches must be in, None for any. `encoder_sha256`: of the encoder that must have made
    them; caches that were imported name none and pass. Raises CacheError.
    """
    caches = _caches_in(path)
    if caches:
        return _cache_blocks([TeacherVectors.open(folder, space_id) for folder in caches], dim, encoder_sha256)
    files = [path] if path.is_file() else sorted(path.glob("*.npy"))
    if not files:
        raise CacheError(f"{path} holds no vectors. Expected .npy files, or a folder that `askew cache` filled.")
    shards = tuple(_npy_shard(file, dim) for file in files)
    return VectorBlocks(dim, shards, origin=f"{len(files)} .npy file(s), of an encoder that they do not name")


def holds_vectors(path: Path) -> bool:
    """Whether a path is a `.npy` file, or a folder that `open_blocks` would read."""
    if path.is_file():
        return True
    return bool(_caches_in(path)) or any(path.glob("*.npy"))


def _caches_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    if (path / MANIFEST).is_file() or (path / PROGRESS).is_file():
        return [path]
    return sorted(folder for folder in path.iterdir() if (folder / MANIFEST).is_file() or (folder / PROGRESS).is_file())


def _cache_blocks(caches: Sequence[TeacherVectors], dim: int, encoder_sha256: str | None) -> VectorBlocks:
    for cache in caches:
        made_by = cache.manifest.encoder_sha256
        if None not in (made_by, encoder_sha256) and made_by != encoder_sha256:
            raise CacheError(
                f"{cache.folder} was made by {cache.manifest.encoder}, file {made_by:.12}…; expected the gallery's encoder, file "
                f"{encoder_sha256:.12}…. Describe the photos with it: `askew cache`."
            )
        _check_dim(cache.folder, cache.dim, dim)
    shards = tuple(_Shard(cache.folder / VECTORS, cache.manifest.dtype.numpy, len(cache), 0) for cache in caches)
    ids = tuple(photo for cache in caches for photo in cache.ids)
    unreadable = tuple(photo.id for cache in caches for photo in cache.manifest.unreadable)
    return VectorBlocks(dim, shards, ids, unreadable, f"{len(caches)} folder(s) of `askew cache`")


def _npy_shard(file: Path, dim: int) -> _Shard:
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = read(stream)
            offset = stream.tell()
        size = file.stat().st_size
    except OSError as error:
        raise CacheError(f"Expected vectors, but {file} cannot be read: {error.strerror}.") from None
    except NO_HEADER:
        raise CacheError(
            f"{file} is no NumPy file of plain numbers. Expected float [N, {dim}] written by np.save."
        ) from None
    if len(shape) != 2 or min(shape) < 0 or not np.issubdtype(dtype, np.floating) or dim not in shape:
        raise CacheError(f"{file} holds {dtype} {list(shape)}; expected float [N, {dim}], a row for each photo.")
    is_transposed = shape[1] != dim
    count = shape[1] if is_transposed else shape[0]
    if size < offset + count * dim * dtype.itemsize:
        raise CacheError(
            f"{file} is cut: it has {size:,} bytes, and its header promises {count:,} vectors. Copy it again."
        )
    return _Shard(file, dtype, count, offset, columns_first=is_transposed != is_fortran)


def _check_dim(place: Path, found: int, dim: int) -> None:
    if found != dim:
        raise CacheError(
            f"{place} holds vectors of {found} dimensions; expected {dim}, as the gallery's encoder makes."
        )


def _read(shard: _Shard, dim: int, rows_at_once: int) -> Iterator[NDArray[np.float32]]:
    if shard.columns_first:
        columns = np.memmap(shard.file, shard.dtype, "r", shard.offset, (dim, shard.count))
        for start in range(0, shard.count, rows_at_once):
            yield np.ascontiguousarray(columns[:, start : start + rows_at_once].T, dtype=np.float32)
        return
    with shard.file.open("rb", buffering=0) as stream:
        stream.seek(shard.offset)
        for start in range(0, shard.count, rows_at_once):
            wanted = min(rows_at_once, shard.count - start) * dim
            values = np.fromfile(stream, dtype=shard.dtype, count=wanted)
            if len(values) != wanted:
                raise CacheError(f"{shard.file} became shorter while it was read. Copy it again.")
            yield values.reshape(-1, dim).astype(np.float32, copy=False)


def _check_lengths(block: NDArray[np.float32], file: Path, start: int) -> None:
    """NaN passes: it is a photo without a vector."""
    lengths = np.linalg.norm(block[::CHECKED_EACH], axis=1)
    wrong = np.flatnonzero(np.abs(lengths - 1) > LENGTH_TOLERANCE)
    if wrong.size:
        raise CacheError(
            f"{file}, row {start + wrong[0] * CHECKED_EACH}: expected a unit vector, got one of length {lengths[wrong[0]]:.4g}. "
            "If only the lengths are wrong, divide each by its length."
        )
