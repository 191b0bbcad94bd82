"""Epochs of tuples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from askew_training.data.pairs import pairs_within_instances
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from askew_training.losses.base import Side
from askew_training.losses.contrastive import ContrastiveTable
from askew_training.losses.regression import RegressionTable
from askew_training.losses.triplet import TripletTable
from askew_training.train.mining import NONE
from askew_training.train.reader import LoadedBatch
from askew_training.train.recipe_tables import MiningTable
from askew_training.train.tuples import TupleMiner, Tuples, mining_statistics, references_of, tuple_batches
from askew_training.train.weighted_sum import weighted_sum
from tests.support.training_helpers import unit_vectors

CLUSTERS = np.array([number // 3 for number in range(30)] + list(range(10, 20)))
"""Ten instances of three photos, and ten photos without a label."""
VECTORS = unit_vectors(40, 16, 0)
"""A teacher's vectors of them."""


def vectors_of(photos: Sequence[int]) -> NDArray[np.float32]:
    return np.asarray(VECTORS[list(photos)])


def make_miner(
    choose: Literal["hard", "random", "teacher-ranked"], side: Side = "teacher", negatives: int = 4
) -> TupleMiner:
    names = [f"i{number // 3}" for number in range(30)] + [""] * 10
    photos = [Photo(Path(str(i)), name, "train", "", "set", str(i)) for i, name in enumerate(names)]
    table = MiningTable(choose=choose, queries=12, negatives=negatives, pool=30, ranks=8)
    return TupleMiner(table, side, pairs_within_instances(photos), CLUSTERS, vectors_of, 7)


@pytest.mark.parametrize("choose", ["hard", "random"])
def test_tuples_have_a_positive_of_the_same_instance_and_negatives_of_others_and_differ_between_epochs(
    choose: Literal["hard", "random"],
) -> None:
    miner = make_miner(choose)
    tuples = miner.mine(3, vectors_of)
    assert miner.count == len(tuples.queries) == 12
    assert len(set(tuples.queries.tolist())) == 12
    assert (CLUSTERS[tuples.queries] == CLUSTERS[tuples.positives]).all()
    assert (tuples.queries != tuples.positives).all()
    assert (tuples.negatives != NONE).all()
    assert (CLUSTERS[tuples.negatives] != CLUSTERS[tuples.queries][:, None]).all()
    # Photos without a label are negatives too, and the pool is less than all photos.
    assert (tuples.negatives >= 30).any()
    assert len(np.unique(tuples.negatives)) <= 30
    again, other = (miner.mine(epoch, vectors_of) for epoch in (3, 4))
    assert np.array_equal(again.negatives, tuples.negatives) and np.array_equal(again.queries, tuples.queries)
    assert not np.array_equal(other.negatives, tuples.negatives)


def test_asymmetric_mining_describes_only_the_queries_and_symmetric_mining_also_the_pool() -> None:
    numbers: list[int] = []

    def describe(photos: Sequence[int]) -> NDArray[np.float32]:
        numbers.append(len(photos))
        return np.asarray(unit_vectors(40, 16, 1)[list(photos)])

    make_miner("hard").mine(0, describe)
    assert numbers == [12]
    make_miner("hard", "student").mine(0, describe)
    assert numbers[1] > 30
    make_miner("random").mine(0, describe)
    make_miner("teacher-ranked").mine(0, describe)
    assert len(numbers) == 2


def test_teacher_ranked_tuples_follow_the_teacher_and_need_no_labels() -> None:
    miner = make_miner("teacher-ranked")
    tuples = miner.mine(0, lambda _photos: pytest.fail("nothing needs to be described"))
    similarity = np.einsum("qd,qd->q", VECTORS[tuples.queries], VECTORS[tuples.positives])
    farther = np.einsum("qd,qd->q", VECTORS[tuples.queries], VECTORS[tuples.negatives[:, 0]])
    assert (similarity > farther).all()


def test_batches_hold_each_tuple_once_with_its_photos_if_the_network_describes_them() -> None:
    miner = make_miner("hard")
    tuples = miner.mine(0, vectors_of)
    shapes = [(64, 96), (96, 64)] * 20
    asymmetric = tuple_batches(tuples, "teacher", shapes, 5, 0, 0)
    assert sorted(draw.photo for batch in asymmetric for draw in batch.draws) == sorted(tuples.queries.tolist())
    symmetric = tuple_batches(tuples, "student", shapes, 5, 0, 0)
    assert sorted(len(batch.draws) for batch in symmetric) == [12, 30, 30]
    for batch in symmetric:
        for draw, number, role in zip(batch.draws, batch.tuples, batch.roles, strict=True):
            of = ([tuples.queries[number]], [tuples.positives[number]], tuples.negatives[number])[role]
            assert draw.photo in of


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_each_query_is_compared_with_its_own_positive_and_negatives_even_if_photos_could_not_be_read(
    side: Side,
) -> None:
    miner = make_miner("hard", side, negatives=25)  # More than there are clusters: some places are empty.
    tuples = miner.mine(0, vectors_of)
    assert (tuples.negatives == NONE).any()
    batch = tuple_batches(tuples, side, [(64, 96)] * 40, 5, 0, 0)[0]
    read = [number for number in range(len(batch.draws)) if number % 7 != 3]
    photos = [batch.draws[number].photo for number in read]
    loaded = LoadedBatch([], torch.tensor(photos), torch.tensor(read), [])
    # The first component of a photo's vector is its number.
    numbered = np.repeat(np.arange(40, dtype=np.float32)[:, None], 2, axis=1)

    def numbered_vectors(photos: Sequence[int]) -> NDArray[np.float32]:
        return np.asarray(numbered[list(photos)])

    teacher = numbered_vectors if side == "teacher" else None
    is_query, references = references_of(tuples, batch, loaded, torch.from_numpy(numbered[photos]), teacher)
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


def test_statistics_state_similarities_and_the_share_of_negatives_that_each_loss_pushes() -> None:
    none = np.zeros(2, np.int64)
    tuples = Tuples(
        none,
        none,
        np.array([[1, 2], [3, NONE]]),
        np.array([0.9, 0.7], np.float32),
        np.array([[0.8, 0.3], [0.6, np.nan]], np.float32),
    )
    losses = weighted_sum(
        [
            ContrastiveTable(name="contrastive", references="teacher"),  # pushes above 0.755
            TripletTable(name="triplet", references="teacher", margin=0.3),  # pushes above 0.75, and above 0.55
            RegressionTable(name="regression"),
        ],
        {"all": 4},
        lambda: pytest.fail("none of these losses learns from the teacher's vectors"),
        seed=0,
    )
    statistics = mining_statistics(tuples, losses)
    assert statistics["positive_similarity"] == pytest.approx(0.8)
    assert statistics["negative_similarity"] == pytest.approx(1.7 / 3)
    assert statistics["active_contrastive"] == pytest.approx(1 / 3)
    assert statistics["active_triplet"] == pytest.approx(2 / 3)
    assert mining_statistics(Tuples(none, none, none[:, None]), losses) == {}


def test_a_pool_of_one_cluster_is_refused() -> None:
    with pytest.raises(DataError, match="all photos are of one"):
        TupleMiner(MiningTable(), "teacher", None, np.zeros(5, np.int64), None, 0)
