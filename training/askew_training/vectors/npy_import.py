"""Importing teacher vectors that were computed elsewhere: a NumPy file with one column for each photo."""

from __future__ import annotations

import os
import tokenize
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.space import is_space_id
from askew_training.errors import CacheError
from askew_training.vectors.lock import check_empty, lock_folder
from askew_training.vectors.manifest import MANIFEST, VECTORS, CacheManifest, Dtype, digest_of, write_record

COLUMNS_AT_ONCE = 4096
LENGTH_TOLERANCE = 1e-2
"""How far a vector's length may be from 1: more than rounding to half precision causes, less than any other scale."""

NO_HEADER = (ValueError, EOFError, SyntaxError, OverflowError, tokenize.TokenError)
"""What NumPy raises for a file that does not begin as its own do."""


def import_npy(
    file: Path, ids_file: Path, space_id: str, folder: Path, dtype: Dtype, photo_size: int | None
) -> CacheManifest:
    """Make a cache from a `.npy` file, float [D, N], whose column i is the unit vector of the photo on line i of
    `ids_file`: the layout of the feature files of Budnik & Avrithis (CVPR 2021).

    `space_id`: the space of the vectors. `photo_size`: the longest side, in pixels, that they were computed at; None if
    unknown. The file is read in parts. Vectors are scaled to unit length exactly. Raises CacheError for a file of
    another kind or layout, ids that do not fit it, vectors that are not of unit length, and a folder that is not empty.
    """
    if not is_space_id(space_id):
        raise CacheError(
            f"Expected a space such as sp1- and 32 hex digits, got {space_id!r}. `askew inspect` shows it."
        )
    ids = _read_ids(ids_file)
    vectors = _map_vectors(file)
    dim, count = vectors.shape
    if count != len(ids):
        hint = " It looks transposed: save it as vectors.T." if dim == len(ids) else ""
        raise CacheError(
            f"{file} has {count:,} columns and {ids_file} {len(ids):,} ids; expected one column for each id.{hint}"
        )
    check_empty(folder)
    with lock_folder(folder):
        check_empty(folder)
        _copy(vectors, file, folder / VECTORS, dtype)
        manifest = CacheManifest(
            space_id=space_id,
            encoder=None,
            encoder_sha256=None,
            photo_size=photo_size,
            scales=None,
            plan=None,
            dim=dim,
            dtype=dtype,
            count=count,
            digest=digest_of(folder / VECTORS),
            unreadable=(),
            ids=tuple(ids),
        )
        write_record(folder / MANIFEST, manifest)
    return manifest


def _read_ids(file: Path) -> list[str]:
    try:
        ids = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CacheError(f"Expected a list of ids, but {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CacheError(f"{file} is not a text in UTF-8. Expected one id on each line.") from None
    if not ids:
        raise CacheError(f"{file} is empty. Expected one id on each line.")
    known: set[str] = set()
    for number, photo in enumerate(ids, start=1):
        if not photo.strip() or photo in known:
            raise CacheError(f"{file}, line {number}: expected an id that no other line has, got {photo!r}.")
        known.add(photo)
    return ids


def _map_vectors(file: Path) -> NDArray[np.floating]:
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise CacheError(f"Expected a NumPy file, but {file} cannot be read: {error.strerror or error}.") from None
    except NO_HEADER:
        raise CacheError(
            f"{file} is not a NumPy file of plain numbers. Expected a float array [D, N] written by np.save."
        ) from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        shape = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else "several arrays"
        raise CacheError(f"{file} holds {shape}; expected float [D, N], a column for each photo.")
    return vectors


def _copy(vectors: NDArray[np.floating], file: Path, target: Path, dtype: Dtype) -> None:
    try:
        with target.open("wb") as stream:
            for start in range(0, vectors.shape[1], COLUMNS_AT_ONCE):
                rows = np.ascontiguousarray(vectors[:, start : start + COLUMNS_AT_ONCE].T, dtype=np.float64)
                # A length that overflows is infinite, and refused below.
                with np.errstate(over="ignore", invalid="ignore"):
                    lengths = np.linalg.norm(rows, axis=1)
                # Written as "not inside", because a length of NaN is neither inside nor outside.
                wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
                if wrong.size:
                    raise CacheError(
                        f"{file}, column {start + wrong[0]}: expected a unit vector, got one of length "
                        f"{lengths[wrong[0]]:.4g}. If only the lengths are wrong, divide each column by its length."
                    )
                stream.write((rows / lengths[:, None]).astype(dtype.numpy).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
