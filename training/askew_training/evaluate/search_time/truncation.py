"""Fewer dimensions: the first ones, or those in which vectors vary most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from askew_training.errors import DataError
from askew_training.evaluate.search_time.method import Count, Grid, Method, Rows, Scores, Vectors
from askew_training.evaluate.search_time.similarity import similarity, unit


@dataclass(frozen=True)
class TruncatedGallery:
    """Vectors of fewer dimensions, float32 [m, d], and the map to them, float32 [d, D], rows orthonormal."""

    vectors: Vectors
    rotation: Vectors
    bytes_per_vector: float

    def score(self, queries: Vectors, own: Rows) -> Scores:
        return similarity(unit(queries @ self.rotation.T), self.vectors)


class Truncation(Method):
    """Keep `dim` dimensions on both sides, and scale to unit length again.

    `rotation`: `none` keeps the first dimensions as the encoder orders them: a whitening that was learned by PCA or from
    pairs orders them by importance. `pca` turns the vectors first, so that other photos' vectors (the role `train`) have the most energy in the
    first dimensions; nothing is centred, so that inner products are kept while no dimension is dropped.
    """

    name: ClassVar[str] = "truncation"
    grid: ClassVar[Grid] = {"dim": (1024, 512, 256, 128), "rotation": ("none", "pca")}

    dim: Count = 512
    rotation: Literal["none", "pca"] = "none"

    @property
    def learns_from_others(self) -> bool:
        return self.rotation == "pca"

    def prepare(self, gallery: Vectors, others: Vectors) -> TruncatedGallery:
        full = gallery.shape[1]
        if self.dim > full:
            raise DataError(f"Expected at most the {full} dimensions of the vectors, got {self.dim}.")
        rotation = np.eye(self.dim, full, dtype=np.float32) if self.rotation == "none" else self._learn(others)
        return TruncatedGallery(unit(gallery @ rotation.T), rotation, 4.0 * self.dim)

    def _learn(self, others: Vectors) -> Vectors:
        if len(others) < self.dim:
            raise DataError(
                f"A rotation to {self.dim} dimensions needs at least as many photos of role train, got {len(others)}. "
                "Add some to the manifest, or take rotation=none."
            )
        exact = others.astype(np.float64)
        _, axes = np.linalg.eigh(exact.T @ exact)
        return np.ascontiguousarray(axes[:, ::-1][:, : self.dim].T, np.float32)
