"""k-reciprocal re-ranking, against the steps of the published `re_ranking` as loops over sets."""

from __future__ import annotations

import numpy as np
import pytest

from askew_training.evaluate.search_time.reciprocal import KReciprocal, reciprocal_distances
from tests.training.evaluate.search_time.vectors import GALLERY, NO_OTHERS, QUERIES, nowhere


def slowly(nodes, k1, k2, share):
    """The distances of node 0 to the others, as in the code of Zhong et al. for one query."""
    count = len(nodes)
    distance = 2 - 2 * nodes.astype(np.float64) @ nodes.T.astype(np.float64)
    np.fill_diagonal(distance, 0)
    distance = np.array([row / row.max() for row in distance])
    rank = [np.lexsort((np.arange(count) != i, distance[i])).tolist() for i in range(count)]

    def reciprocal(i, k):
        return {j for j in rank[i][: k + 1] if i in rank[j][: k + 1]}

    encodings = np.zeros((count, count))
    for i in range(count):
        members = reciprocal(i, k1)
        expanded = set(members)
        for j in members:
            candidates = reciprocal(j, round(k1 / 2))
            if len(candidates & members) > 2 / 3 * len(candidates):
                expanded |= candidates
        for j in expanded:
            encodings[i, j] = np.exp(-distance[i, j])
        encodings[i] /= encodings[i].sum()
    if k2 != 1:
        encodings = np.array([np.mean([encodings[j] for j in rank[i][:k2]], axis=0) for i in range(count)])
    common = np.array([np.minimum(encodings[0], encodings[j]).sum() for j in range(1, count)])
    return (1 - common / (2 - common)) * (1 - share) + distance[0, 1:] * share


@pytest.mark.parametrize(("k1", "k2", "share"), [(20, 6, 0.3), (5, 1, 0.9), (3, 2, 0.0), (60, 3, 0.3)])
def test_distances_are_those_of_the_published_steps(k1, k2, share):
    for query in QUERIES:
        nodes = np.concatenate([query[None], GALLERY])
        found = reciprocal_distances(nodes @ nodes.T, k1, k2, share)
        np.testing.assert_allclose(found, slowly(nodes, k1, k2, share), atol=1e-5)


def test_the_first_hits_are_ranked_anew_and_the_others_follow_in_their_old_order():
    method = KReciprocal(neighbours=5, smoothed=2, depth=12)
    plain = QUERIES @ GALLERY.T
    for query, similarities, scores in zip(
        QUERIES, plain, method.prepare(GALLERY, NO_OTHERS).score(QUERIES, nowhere(5)), strict=True
    ):
        before, after = np.argsort(-similarities), np.argsort(-scores, kind="stable")
        assert set(before[:12]) == set(after[:12])
        assert list(before[12:]) == list(after[12:])
        nodes = np.concatenate([query[None], GALLERY[before[:12]]])
        np.testing.assert_allclose(scores[before[:12]], 1 - slowly(nodes, 5, 2, 0.3), atol=1e-5)
