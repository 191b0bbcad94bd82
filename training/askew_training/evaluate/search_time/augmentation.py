"""Database augmentation: each gallery vector is replaced by the mean of itself and its neighbours."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from askew_training.evaluate.search_time.expansion import ExpandingGallery, expand
from askew_training.evaluate.search_time.method import Count, Exponent, Grid, Method, Vectors
from askew_training.evaluate.search_time.plain import VectorGallery
from askew_training.evaluate.search_time.similarity import similarity, without_own

ROWS_AT_ONCE = 256
"""Rows that are augmented at a time: with 10 neighbours of 2,048 dimensions, 21 MB."""


def augment(gallery: Vectors, neighbours: int, alpha: float) -> Vectors:
    """Expand each gallery vector by its own neighbours in the gallery, itself left out. float32 [m, D]."""
    augmented = np.empty_like(gallery)
    for start in range(0, len(gallery), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(gallery)))
        scores = without_own(similarity(gallery[rows], gallery), rows[:, None])
        augmented[rows] = expand(gallery[rows], gallery, scores, neighbours, alpha)
    return augmented


class AlphaAugmentation(Method):
    """Replace each gallery vector by the mean of itself and its `neighbours`, each weighted by its score to the `alpha`.

    Turcot & Lowe, ICCV workshops 2009; the weights as in alpha query expansion. The stored vectors are kept beside the augmented
    ones, which are derived; a search reads the augmented ones alone.
    """

    name: ClassVar[str] = "alpha-dba"
    grid: ClassVar[Grid] = {"neighbours": (1, 2, 3, 5, 10), "alpha": (0.0, 0.5, 1.0, 2.0, 3.0)}

    neighbours: Count = 10
    alpha: Exponent = 3.0

    def prepare(self, gallery: Vectors, others: Vectors) -> VectorGallery:
        return VectorGallery(augment(gallery, self.neighbours, self.alpha), 4.0 * gallery.shape[1])


class AugmentationAndExpansion(Method):
    """Both: alpha query expansion on an augmented gallery, with the same settings."""

    name: ClassVar[str] = "alpha-dba-qe"
    grid: ClassVar[Grid] = {"neighbours": (1, 2, 3, 5, 10), "alpha": (0.0, 0.5, 1.0, 2.0, 3.0)}

    neighbours: Count = 10
    alpha: Exponent = 3.0

    def prepare(self, gallery: Vectors, others: Vectors) -> ExpandingGallery:
        augmented = augment(gallery, self.neighbours, self.alpha)
        return ExpandingGallery(augmented, self.neighbours, self.alpha, 4.0 * gallery.shape[1])
