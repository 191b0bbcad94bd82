"""Query expansion and database augmentation, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from askew_training.evaluate.search_time.augmentation import AlphaAugmentation, augment
from askew_training.evaluate.search_time.expansion import AlphaQueryExpansion
from tests.training.evaluate.search_time.vectors import GALLERY, NO_OTHERS, QUERIES, nowhere


def slowly_expanded(query, gallery, candidates, neighbours, alpha):
    scores = {row: float(np.round(query @ gallery[row], 6)) for row in candidates}
    mean = query.astype(np.float64)
    for row in sorted(scores, key=lambda row: -scores[row])[:neighbours]:
        if scores[row] > 0:
            mean = mean + scores[row] ** alpha * gallery[row]
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize(("neighbours", "alpha"), [(1, 0.0), (3, 1.0), (10, 3.0), (100, 3.0)])
def test_query_expansion_adds_the_first_hits_by_their_scores(neighbours, alpha):
    ready = AlphaQueryExpansion(neighbours=neighbours, alpha=alpha).prepare(GALLERY, NO_OTHERS)
    for query, scores in zip(QUERIES, ready.score(QUERIES, nowhere(5)), strict=True):
        expanded = slowly_expanded(query, GALLERY, range(40), neighbours, alpha)
        np.testing.assert_allclose(scores, GALLERY @ expanded, atol=2e-6)


def test_a_query_that_is_in_the_gallery_is_not_expanded_by_itself():
    ready = AlphaQueryExpansion(neighbours=2, alpha=1.0).prepare(GALLERY, NO_OTHERS)
    scores = ready.score(GALLERY[7:8], np.array([[7]]))[0]
    expanded = slowly_expanded(GALLERY[7], GALLERY, [row for row in range(40) if row != 7], 2, 1.0)
    np.testing.assert_allclose(scores, GALLERY @ expanded, atol=2e-6)


def test_what_points_away_from_the_query_is_not_added():
    gallery = np.array([[1, 0], [-1, 0]], np.float32)
    query = np.array([[0.6, 0.8]], np.float32)
    scores = AlphaQueryExpansion(neighbours=2, alpha=0.0).prepare(gallery, NO_OTHERS).score(query, nowhere(1))
    expected = (query[0] + gallery[0]) / np.linalg.norm(query[0] + gallery[0])
    np.testing.assert_allclose(scores[0], gallery @ expected, atol=2e-6)


def test_augmentation_adds_each_vectors_neighbours_and_not_itself_again():
    for row, vector in enumerate(augment(GALLERY, 3, 1.0)):
        others = [other for other in range(40) if other != row]
        np.testing.assert_allclose(vector, slowly_expanded(GALLERY[row], GALLERY, others, 3, 1.0), atol=2e-6)


def test_an_augmented_gallery_is_searched_with_the_query_as_it_is():
    ready = AlphaAugmentation(neighbours=3, alpha=1.0).prepare(GALLERY, NO_OTHERS)
    np.testing.assert_allclose(ready.score(QUERIES, nowhere(5)), QUERIES @ augment(GALLERY, 3, 1.0).T, atol=2e-6)
