"""The vectors of a benchmark: synthetic ones, or real ones from a file or a folder (benchmarks/real_vectors.py writes one)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clustered import clustered, unit
from numpy.typing import NDArray

SYNTHETIC = "synthetic"
HELP = (
    "synthetic (the default), or a folder with stored.npy and queries.npy, or an .npz file with arrays of these names; "
    "then --dim is not used"
)


@dataclass(frozen=True)
class ChosenVectors:
    """Unit vectors to store, float32 [n, D], unit vectors to search for, float32 [m, D], and what they are."""

    stored: NDArray[np.float32]
    queries: NDArray[np.float32]
    kind: str


def choose_vectors(source: str, items: int, queries: int, dim: int) -> ChosenVectors:
    """Make or read up to `items` vectors to store and up to `queries` to search for.

    Ends the program with a sentence if `source` cannot be used.
    """
    if source == SYNTHETIC:
        vectors = clustered(items + queries, dim)
        return ChosenVectors(vectors[:items], vectors[items:], "synthetic vectors")
    path = Path(source)
    stored, asked = (_read(path, name) for name in ("stored", "queries"))
    if stored.ndim != 2 or asked.ndim != 2 or stored.shape[1] != asked.shape[1] or not len(stored) or not len(asked):
        raise SystemExit(
            f"Expected two tables of vectors with one length in {path}, but stored is {stored.shape} and queries is "
            f"{asked.shape}. Write them again with benchmarks/real_vectors.py."
        )
    if len(stored) < items:
        print(f"{path} has {len(stored)} vectors to store, fewer than --items {items}; all are used", flush=True)
    kind = f"real vectors from {path.name}"
    return ChosenVectors(_units(stored[:items], path), _units(asked[:queries], path), kind)


def _read(path: Path, name: str) -> NDArray[np.floating]:
    missing = f"{path} has no {name}: expected a folder with {name}.npy, or an .npz file with the array {name}. "
    try:
        if path.is_dir():
            array = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        else:
            with np.load(path, allow_pickle=False) as arrays:
                array = arrays[name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SystemExit(f"{missing}Write one with benchmarks/real_vectors.py.") from None
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        raise SystemExit(f"{missing}It holds {array.dtype} instead of floating point numbers.")
    return array


def _units(vectors: NDArray[np.floating], path: Path) -> NDArray[np.float32]:
    taken = np.asarray(vectors, dtype=np.float32)
    if not np.isfinite(taken).all() or not np.linalg.norm(taken, axis=1).all():
        raise SystemExit(f"{path} has vectors that are zero or not finite. Write it again with real_vectors.py.")
    return unit(taken)
