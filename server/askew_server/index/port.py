"""The index port: what a gallery asks of whatever finds its nearest vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]


class VectorIndex(Protocol):
    """Vectors by label, searched by inner product.

    One thread owns an index: it must never be searched while it is changed. Vectors are float32 [n, D] of unit
    length, labels int64 [n].
    """

    @property
    def name(self) -> str:
        """How answers and gallery descriptions call this index."""

    @property
    def exact(self) -> bool:
        """Whether a search always finds the true nearest."""

    def __len__(self) -> int:
        """How many vectors it holds."""

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors under labels that it does not hold yet."""

    def remove(self, labels: Labels) -> None:
        """Remove these labels; unknown ones are passed over."""

    def search(self, vectors: Vectors, limit: int, allowed: Labels | None) -> Labels:
        """The labels of the nearest, nearest first: int64 [n, limit], filled up with -1.

        `allowed`: search among these labels only.
        """

    def vectors(self, labels: Labels) -> Vectors:
        """The vectors under labels that it holds: float32 [n, D]."""

    def save(self, path: Path) -> None:
        """Write it to a file."""
