"""Mining, compared with slow re-derivations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew_training.train.mining import NONE, hard_negatives, random_negatives, ranked_pairs
from tests.support.training_helpers import unit_vectors


@dataclass(frozen=True)
class Pool:
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self.vectors[indices])


@pytest.mark.slow
@given(st.integers(1, 6), st.integers(1, 60), st.integers(1, 9), st.integers(1, 6), st.integers(0, 999))
def test_hard_negatives_are_the_most_similar_with_one_at_most_of_each_other_cluster(
    queries: int, photos: int, clusters: int, count: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    anchors, pool = unit_vectors(queries, 5, seed), unit_vectors(photos, 5, seed + 1)
    of_query, of_pool = random.integers(0, clusters, queries), random.integers(0, clusters, photos)
    found, scores = hard_negatives(anchors, of_query, Pool(pool), of_pool, count)
    similarity = anchors @ pool.T
    for row in range(queries):
        expected: list[int] = []
        taken = {int(of_query[row])}
        for candidate in np.argsort(-similarity[row]).tolist():
            if int(of_pool[candidate]) not in taken and len(expected) < count:
                taken.add(int(of_pool[candidate]))
                expected.append(candidate)
        chosen = found[row][found[row] != NONE].tolist()
        assert [of_pool[each] for each in chosen] == [of_pool[each] for each in expected]
        np.testing.assert_allclose(similarity[row][chosen], similarity[row][expected], rtol=1e-5)
        np.testing.assert_allclose(scores[row][: len(chosen)], similarity[row][chosen], rtol=1e-5, atol=1e-6)
        assert np.isnan(scores[row][len(chosen) :]).all()


def test_hard_negatives_are_found_behind_a_large_cluster_of_the_query() -> None:
    anchors = unit_vectors(1, 8, 0)
    own = anchors + 0.01 * unit_vectors(500, 8, 1)
    pool = np.concatenate([own, unit_vectors(3, 8, 2)])
    clusters = np.array([0] * 500 + [1, 2, 2])
    found = hard_negatives(anchors, np.array([0]), Pool(pool), clusters, 5)[0]
    assert sorted(clusters[found[0][found[0] != NONE]]) == [1, 2]
    assert (found[0] == NONE).sum() == 3


def test_a_pool_of_several_blocks_gives_the_same_ranking() -> None:
    anchors, pool, clusters = unit_vectors(7, 6, 0), Pool(unit_vectors(60, 6, 1)), np.arange(60)
    whole = hard_negatives(anchors, np.full(7, -5), pool, clusters, 4)
    parts = hard_negatives(anchors, np.full(7, -5), pool, clusters, 4, block=9)
    assert np.array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-5)


@given(st.integers(1, 8), st.integers(1, 30), st.integers(1, 5), st.integers(1, 6), st.integers(0, 999))
def test_random_negatives_are_of_other_clusters_and_different(
    queries: int, photos: int, clusters: int, count: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    of_query, of_pool = random.integers(0, clusters, queries), random.integers(0, clusters, photos)
    found = random_negatives(of_query, of_pool, count, random)
    for own, row in zip(of_query, found, strict=True):
        chosen = row[row != NONE]
        assert len(set(chosen.tolist())) == len(chosen) == min(count, int((of_pool != own).sum()))
        assert not (of_pool[chosen] == own).any()


def test_ranked_pairs_are_two_of_the_nearest_with_the_nearer_first_and_never_the_query() -> None:
    pool = unit_vectors(50, 6, 0)
    nearer, farther = ranked_pairs(pool, Pool(pool), 10, np.random.default_rng(0))
    similarity = pool @ pool.T
    rank = np.argsort(np.argsort(-similarity, axis=1), axis=1)
    rows = np.arange(50)
    assert (rank[rows, nearer] < rank[rows, farther]).all()
    assert (rank[rows, nearer] >= 1).all() and (rank[rows, farther] <= 10).all()
    assert len(set(rank[rows, nearer].tolist())) > 3
