"""Diffusion, against a dense solution of its equations."""

from __future__ import annotations

import numpy as np
import pytest

from askew_training.evaluate.search_time.diffusion import Diffusion
from tests.training.evaluate.search_time.vectors import GALLERY, NO_OTHERS, QUERIES, nowhere


def solved_densely(query, gallery, neighbours, query_neighbours, alpha, power):
    count = len(gallery)
    scores = np.round(gallery @ gallery.T, 6).astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    near = [set(np.argsort(-row, kind="stable")[:neighbours]) for row in scores]
    weights = np.zeros((count, count))
    for i in range(count):
        for j in near[i]:
            if i in near[j]:
                weights[i, j] = max(scores[i, j], 0) ** power
    degrees = weights.sum(axis=1)
    degrees[degrees == 0] = 1
    normalised = weights / np.sqrt(np.outer(degrees, degrees))
    similarities = np.round(gallery @ query, 6).astype(np.float64)
    start = np.zeros(count)
    first = np.argsort(-similarities, kind="stable")[:query_neighbours]
    start[first] = np.maximum(similarities[first], 0) ** power
    return np.linalg.solve(np.eye(count) - alpha * normalised, start), similarities


def expected_scores(solution, similarities):
    return np.where(solution > 1e-9, solution / solution.max(), (similarities - 1) / 2)


@pytest.mark.parametrize(("neighbours", "first", "alpha"), [(39, 10, 0.99), (10, 1, 0.9), (3, 3, 0.9), (500, 2, 0.5)])
def test_scores_solve_the_equations_of_the_whole_gallery(neighbours, first, alpha):
    method = Diffusion(neighbours=neighbours, query_neighbours=first, alpha=alpha, iterations=200)
    for query, scores in zip(QUERIES, method.prepare(GALLERY, NO_OTHERS).score(QUERIES, nowhere(5)), strict=True):
        solution = solved_densely(query, GALLERY, min(neighbours, 39), first, alpha, 3)
        np.testing.assert_allclose(scores, expected_scores(*solution), atol=1e-4)


def test_the_first_hits_alone_make_a_graph_of_their_own():
    method = Diffusion(neighbours=5, query_neighbours=1, alpha=0.9, iterations=200, depth=15)
    for query, scores in zip(QUERIES, method.prepare(GALLERY, NO_OTHERS).score(QUERIES, nowhere(5)), strict=True):
        hits = np.argsort(-(GALLERY @ query), kind="stable")
        local = expected_scores(*solved_densely(query, GALLERY[hits[:15]], 5, 1, 0.9, 3))
        np.testing.assert_allclose(scores[hits[:15]], local, atol=1e-4)
        assert list(np.argsort(-scores, kind="stable")[-25:][-10:]) == list(hits[-10:])


def test_what_no_path_reaches_follows_in_its_old_order():
    # Two pairs; the query is near the first.
    gallery = np.array([[1, 0, 0], [0.99, 0.14, 0], [0, 0, 1], [0, 0.14, 0.99]], np.float32)
    query = np.array([[0.9, 0.05, 0.42]], np.float32)
    scores = Diffusion(neighbours=1, query_neighbours=1).prepare(gallery, NO_OTHERS).score(query, nowhere(1))[0]
    assert list(np.argsort(-scores)) == [0, 1, 3, 2]
    assert (scores[2:] < 0).all()


def test_a_query_that_points_away_from_everything_keeps_its_order():
    query = -GALLERY[:1]
    scores = Diffusion().prepare(np.abs(GALLERY), NO_OTHERS).score(-np.abs(query), nowhere(1))[0]
    assert list(np.argsort(-scores, kind="stable")) == list(
        np.argsort(np.abs(GALLERY) @ np.abs(query[0]), kind="stable")
    )
