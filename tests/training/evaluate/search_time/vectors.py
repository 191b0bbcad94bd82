"""Vectors for the tests of search-time methods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_training.evaluate.search_time.method import NOT_THERE


def unit_vectors(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)) + 0.5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def nowhere(count: int) -> NDArray[np.int64]:
    """The own rows of queries that the gallery does not hold."""
    return np.full((count, 1), NOT_THERE, np.int64)


NO_OTHERS = np.empty((0, 16), np.float32)
GALLERY = unit_vectors(40, 16, 1)
QUERIES = unit_vectors(5, 16, 2)
OTHERS = unit_vectors(300, 16, 3)
