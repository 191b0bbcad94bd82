"""The order that a diffusion gives hits."""

from __future__ import annotations

import numpy as np
import pytest

from askew_server.gallery.diffusion import ALPHA, NEIGHBOURS, POWER, diffused_order
from askew_training.evaluate.search_time.diffusion import Diffusion


def hits(count, dim, seed, like=0.5):
    """A query, and vectors by falling inner product with it, in half precision as they are stored."""
    random = np.random.default_rng(seed)
    centre = random.standard_normal(dim)
    vectors = random.standard_normal((count, dim)) + like * centre
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    query = (centre / np.linalg.norm(centre)).astype(np.float32)
    return query, vectors[np.argsort(-(vectors @ query), kind="stable")]


@pytest.mark.parametrize(("count", "seed"), [(2, 0), (7, 1), (11, 2), (60, 3), (200, 4)])
def test_the_order_is_that_of_the_method_that_was_measured(count, seed):
    query, vectors = hits(count, 24, seed)
    measured = Diffusion(
        neighbours=NEIGHBOURS, query_neighbours=1, alpha=ALPHA, power=POWER, iterations=500, depth=count
    )
    scores = measured.prepare(vectors, vectors[:0]).score(query[None], np.array([-1]))[0]
    found = diffused_order(vectors)
    assert sorted(found) == list(range(count))
    assert found[0] == 0
    # What is reached with nearly the same strength may change places.
    assert (np.diff(scores[found[1:]]) < 1e-5).all()


def test_what_no_path_reaches_keeps_its_order_at_the_end():
    vectors = np.zeros((14, 14), np.float32)
    vectors[:, :13] = np.eye(14, 13)
    vectors[13] = vectors[0] * 0.8 + vectors[13] * 0.6 + np.eye(14)[13] * 0.6
    assert diffused_order(vectors) == [0, 13, *range(1, 13)]


def test_one_hit_and_equal_hits_stay_where_they_are():
    assert diffused_order(np.ones((1, 4), np.float32) / 2) == [0]
    assert diffused_order(np.full((30, 4), 0.5, np.float32)) == list(range(30))


def test_hits_that_point_apart_keep_their_order():
    assert diffused_order(np.array([[1, 0], [-1, 0], [0, -1]], np.float32)) == [0, 1, 2]
