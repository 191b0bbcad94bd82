"""Mining against slow re-derivations, and how fast it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from askew_training.data.pairs import pairs_within_instances
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from askew_training.train import mining
from askew_training.train.loss_tables import ContrastivePart, RegressionPart, TripletPart
from askew_training.train.mining import NONE, hard_negatives, random_negatives, ranked_pairs
from askew_training.train.reader import LoadedBatch
from askew_training.train.recipe_tables import MiningPart
from askew_training.train.tuples import TupleMiner, Tuples, batches_of, mining_statistics, references_of


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@dataclass(frozen=True)
class Pool:
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        return self.vectors[indices]


@given(st.integers(1, 6), st.integers(1, 60), st.integers(1, 9), st.integers(1, 6), st.integers(0, 999))
def test_hard_negatives_are_the_most_similar_at_most_one_of_a_cluster_and_none_of_ones_own(
    queries, photos, clusters, count, seed
):
    random = np.random.default_rng(seed)
    anchors, pool = unit(queries, 5, seed), unit(photos, 5, seed + 1)
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
        there = found[row][found[row] != NONE].tolist()
        assert [of_pool[each] for each in there] == [of_pool[each] for each in expected]
        np.testing.assert_allclose(similarity[row][there], similarity[row][expected], rtol=1e-5)
        np.testing.assert_allclose(scores[row][: len(there)], similarity[row][there], rtol=1e-5, atol=1e-6)
        assert np.isnan(scores[row][len(there) :]).all()


def test_hard_negatives_are_found_behind_a_large_cluster_of_ones_own():
    anchors = unit(1, 8, 0)
    own = anchors + 0.01 * unit(500, 8, 1)
    pool = np.concatenate([own, unit(3, 8, 2)])
    clusters = np.array([0] * 500 + [1, 2, 2])
    found = hard_negatives(anchors, np.array([0]), Pool(pool), clusters, 5)[0]
    assert sorted(clusters[found[0][found[0] != NONE]]) == [1, 2]
    assert (found[0] == NONE).sum() == 3


def test_a_pool_of_several_blocks_is_one_ranking(monkeypatch):
    anchors, pool, clusters = unit(7, 6, 0), Pool(unit(60, 6, 1)), np.arange(60)
    whole = hard_negatives(anchors, np.full(7, -5), pool, clusters, 4)
    monkeypatch.setattr(mining, "BLOCK", 9)
    parts = hard_negatives(anchors, np.full(7, -5), pool, clusters, 4)
    assert np.array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-5)


@given(st.integers(1, 8), st.integers(1, 30), st.integers(1, 5), st.integers(1, 6), st.integers(0, 999))
def test_random_negatives_are_of_other_clusters_and_different(queries, photos, clusters, count, seed):
    random = np.random.default_rng(seed)
    of_query, of_pool = random.integers(0, clusters, queries), random.integers(0, clusters, photos)
    found = random_negatives(of_query, of_pool, count, random)
    for own, row in zip(of_query, found, strict=True):
        there = row[row != NONE]
        assert len(set(there.tolist())) == len(there) == min(count, int((of_pool != own).sum()))
        assert not (of_pool[there] == own).any()


def test_ranked_pairs_are_two_of_the_nearest_the_nearer_first_and_never_the_query():
    pool = unit(50, 6, 0)
    nearer, farther = ranked_pairs(pool, Pool(pool), 10, np.random.default_rng(0))
    similarity = pool @ pool.T
    rank = np.argsort(np.argsort(-similarity, axis=1), axis=1)
    rows = np.arange(50)
    assert (rank[rows, nearer] < rank[rows, farther]).all()
    assert (rank[rows, nearer] >= 1).all() and (rank[rows, farther] <= 10).all()
    assert len(set(rank[rows, nearer].tolist())) > 3


def photos(instances: int, each: int, singles: int) -> list[Photo]:
    names = [f"i{number // each}" for number in range(instances * each)] + [""] * singles
    return [Photo(None, name, "train", "", "set", str(number)) for number, name in enumerate(names)]  # type: ignore[arg-type]


def miner(choose: str, side: str = "teacher", **settings: int) -> tuple[TupleMiner, np.ndarray, np.ndarray]:
    """Ten instances of three photos and ten photos without a label, and a teacher's vectors of them."""
    listed = photos(10, 3, 10)
    clusters = np.array([number // 3 for number in range(30)] + list(range(10, 20)))
    vectors = unit(40, 16, 0)
    part = MiningPart(choose=choose, **{"queries": 12, "negatives": 4, "pool": 30, "ranks": 8, **settings})  # type: ignore[arg-type]
    return TupleMiner(part, side, pairs_within_instances(listed), clusters, vectors.__getitem__, 7), clusters, vectors  # type: ignore[arg-type]


@pytest.mark.parametrize("choose", ["hard", "random"])
def test_tuples_are_a_query_a_mate_of_it_and_photos_of_others_and_differ_between_epochs(choose):
    made, clusters, vectors = miner(choose)
    tuples = made.mine(3, lambda photos: vectors[photos])
    assert made.count == len(tuples.queries) == 12
    assert len(set(tuples.queries.tolist())) == 12
    assert (clusters[tuples.queries] == clusters[tuples.positives]).all()
    assert (tuples.queries != tuples.positives).all()
    assert (tuples.negatives != NONE).all()
    assert (clusters[tuples.negatives] != clusters[tuples.queries][:, None]).all()
    # Photos without a label are negatives too, and the pool is less than all photos.
    assert (tuples.negatives >= 30).any()
    assert len(np.unique(tuples.negatives)) <= 30
    again, other = (made.mine(epoch, lambda photos: vectors[photos]) for epoch in (3, 4))
    assert np.array_equal(again.negatives, tuples.negatives) and np.array_equal(again.queries, tuples.queries)
    assert not np.array_equal(other.negatives, tuples.negatives)


def test_asymmetric_mining_describes_the_queries_only_and_symmetric_mining_the_pool_too():
    asked: list[int] = []

    def described(photos: list[int]) -> np.ndarray:
        asked.append(len(photos))
        return unit(40, 16, 1)[photos]

    miner("hard")[0].mine(0, described)
    assert asked == [12]
    miner("hard", "student")[0].mine(0, described)
    assert asked[1] > 30
    miner("random")[0].mine(0, described)
    miner("teacher-ranked")[0].mine(0, described)
    assert len(asked) == 2


def test_teacher_ranked_tuples_follow_the_teacher_and_need_no_labels():
    made, _, vectors = miner("teacher-ranked")
    tuples = made.mine(0, lambda _photos: pytest.fail("nothing has to be described"))
    similarity = np.einsum("qd,qd->q", vectors[tuples.queries], vectors[tuples.positives])
    farther = np.einsum("qd,qd->q", vectors[tuples.queries], vectors[tuples.negatives[:, 0]])
    assert (similarity > farther).all()


def test_batches_hold_each_tuple_once_with_its_photos_where_the_network_describes_them():
    made, _, vectors = miner("hard")
    tuples = made.mine(0, lambda photos: vectors[photos])
    shapes = [(64, 96), (96, 64)] * 20
    asymmetric = batches_of(tuples, "teacher", shapes, 5, 0, 0)
    assert sorted(draw.photo for batch in asymmetric for draw in batch.draws) == sorted(tuples.queries.tolist())
    symmetric = batches_of(tuples, "student", shapes, 5, 0, 0)
    assert sorted(len(batch.draws) for batch in symmetric) == [12, 30, 30]
    for batch in symmetric:
        for draw, number, role in zip(batch.draws, batch.tuples, batch.roles, strict=True):
            of = ([tuples.queries[number]], [tuples.positives[number]], tuples.negatives[number])[role]
            assert draw.photo in of


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_each_query_is_compared_with_its_own_positive_and_negatives_even_where_photos_could_not_be_read(side):
    made, _, vectors = miner("hard", side, negatives=25)  # More than there are clusters: some places are empty.
    tuples = made.mine(0, lambda photos: vectors[photos])
    assert (tuples.negatives == NONE).any()
    batch = batches_of(tuples, side, [(64, 96)] * 40, 5, 0, 0)[0]
    read = [number for number in range(len(batch.draws)) if number % 7 != 3]
    photos = [batch.draws[number].photo for number in read]
    loaded = LoadedBatch([], torch.tensor(photos), torch.tensor(read), [])
    # A vector that names its photo: its first component.
    named = np.repeat(np.arange(40, dtype=np.float32)[:, None], 2, axis=1)
    teacher = named.__getitem__ if side == "teacher" else None
    is_query, references = references_of(tuples, batch, loaded, torch.from_numpy(named[photos]), teacher)
    queries = [photo for photo, chosen in zip(photos, is_query.tolist(), strict=True) if chosen]
    assert queries and references.positives.shape == references.negatives.shape == (
        len(queries),
        len(references.vectors),
    )
    number_of = {int(query): number for number, query in enumerate(tuples.queries)}
    for row, query in enumerate(queries):
        number = number_of[query]
        positives = references.vectors[references.positives[row], 0].int().tolist()
        negatives = references.vectors[references.negatives[row], 0].int().tolist()
        if side == "teacher":
            assert positives == [tuples.positives[number]]
            assert sorted(negatives) == sorted(tuples.negatives[number][tuples.negatives[number] != NONE])
        else:
            assert set(positives) <= {int(tuples.positives[number])}
            assert negatives and set(negatives) <= set(tuples.negatives[number].tolist())


def test_statistics_tell_how_similar_what_was_mined_is_and_how_much_of_it_a_loss_pushes():
    none = np.zeros(2, np.int64)
    tuples = Tuples(
        none,
        none,
        np.array([[1, 2], [3, NONE]]),
        np.array([0.9, 0.7], np.float32),
        np.array([[0.8, 0.3], [0.6, np.nan]], np.float32),
    )
    parts = [
        ContrastivePart(name="contrastive", references="teacher"),  # 0.755 and above
        TripletPart(name="triplet", references="teacher", margin=0.3),  # 0.75 and above, 0.55 and above
        RegressionPart(name="regression"),
    ]
    statistics = mining_statistics(tuples, parts)
    assert statistics["positive_similarity"] == pytest.approx(0.8)
    assert statistics["negative_similarity"] == pytest.approx(1.7 / 3)
    assert statistics["active_contrastive"] == pytest.approx(1 / 3)
    assert statistics["active_triplet"] == pytest.approx(2 / 3)
    assert mining_statistics(Tuples(none, none, none[:, None]), parts) == {}


def test_a_pool_of_one_cluster_is_refused():
    with pytest.raises(DataError, match="all photos are of one"):
        TupleMiner(MiningPart(), "teacher", None, np.zeros(5, np.int64), None, 0)
