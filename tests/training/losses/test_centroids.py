"""Centroids of a product quantiser."""

from __future__ import annotations

import importlib.metadata
import sys

import numpy as np
import pytest

from askew_client.errors import EngineMissing
from askew_training.errors import DataError
from askew_training.losses.centroids import learn_centroids


def clustered(dim: int) -> np.ndarray:
    """float32 [120, dim]: the first 60 are near one point, the last near another."""
    random = np.random.default_rng(0)
    return (random.normal(size=(2, dim)).repeat(60, 0) + 0.01 * random.normal(size=(120, dim))).astype(np.float32)


def test_centroids_lie_at_the_pieces_of_the_vectors_and_nothing_is_printed(capfd):
    vectors = clustered(6)
    centroids = learn_centroids(vectors, subspaces=3, bits=1, iterations=10, seed=5)
    assert centroids.shape == (3, 2, 2) and centroids.dtype == np.float32
    means = np.stack([vectors[:60].mean(0), vectors[60:].mean(0)]).reshape(2, 3, 2)
    for m in range(3):
        found, expected = (sorted(points.tolist()) for points in (centroids[m], means[:, m]))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(centroids, learn_centroids(vectors, 3, 1, 10, 5))
    # As many vectors as centroids is the least that is possible, and still no warning.
    learn_centroids(vectors[:4], 3, 2, 10, 5)
    learn_centroids(np.repeat(vectors[:1], 40, 0), 3, 2, 10, 5)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_vectors_that_are_not_suitable_are_refused_with_a_sentence() -> None:
    vectors = clustered(6)
    with pytest.raises(DataError, match=r"256 centroids \(8 bits\) need at least as many teacher vectors, got 120"):
        learn_centroids(vectors, subspaces=3)
    with pytest.raises(DataError, match="divides the 6 dimensions, got 4"):
        learn_centroids(vectors, subspaces=4, bits=2)
    with pytest.raises(DataError, match="1 to 16 bits"):
        learn_centroids(vectors, subspaces=3, bits=0)
    vectors[3, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        learn_centroids(vectors, subspaces=3, bits=2)


def test_without_faiss_or_with_two_the_extra_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: "1.0")
        with pytest.raises(EngineMissing, match=r"both installed.*pip install faiss-cpu"):
            learn_centroids(clustered(6), subspaces=3, bits=2)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EngineMissing, match=r"No faiss is installed.*pip install faiss-cpu"):
        learn_centroids(clustered(6), subspaces=3, bits=2)
