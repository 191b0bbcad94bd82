"""Easy, medium and hard, against values of the benchmark's own evaluator and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.measurement import read_measurement
from askew_training.evaluate.revisited.ground_truth import GroundTruth, Query, read_ground_truth
from askew_training.evaluate.revisited.measuring import Distractors, measure_rankings, measure_revisited
from tests.support.paths import TRAINING_FIXTURES
from tests.training.evaluate.revisited.truths import (
    BOX,
    TOY,
    TOY_ORDERS,
    conditions,
    scores_of,
    truth_of,
    vectors_with_scores,
    write_truth,
)


@pytest.fixture
def toy(tmp_path: Path) -> GroundTruth:
    return read_ground_truth(write_truth(tmp_path, TOY))


TOY_VALUES: dict[str, tuple[list[float | None], dict[int, float]]] = {
    "easy": ([0.791667, None], {1: 1, 5: 0.666667}),
    "medium": ([0.711111, 0.6625], {1: 1, 5: 0.5, 10: 0.5}),
    "hard": ([0.166667, 0.6625], {1: 0.5, 5: 0.366667}),
}


def test_the_toy_database(toy: GroundTruth) -> None:
    measured = measure_revisited(toy, *vectors_with_scores(scores_of(TOY_ORDERS)), conditions())
    assert [each.protocol for each in measured] == list(TOY_VALUES)
    for each in measured:
        values, precision = TOY_VALUES[each.protocol]
        assert [result.average_precision for result in each.results] == [
            value if value is None else pytest.approx(value, abs=1e-6) for value in values
        ]
        assert {k: each.mean_precision(k) for k in precision} == pytest.approx(precision, abs=1e-6)
        assert (each.gallery_photos, each.distractors, each.dataset) == (8, 0, "roxford5k")
    easy, medium, _ = measured
    assert easy.mean_average_precision == pytest.approx(0.791667, abs=1e-6)
    assert easy.excluded == {"queries without positives": ("arch_000009",)}
    assert medium.mean_average_precision == pytest.approx(0.686806, abs=1e-6)
    assert not medium.excluded
    assert [(found.id, found.relevance) for found in medium.results[0].first[:3]] == [
        ("arch_000003", "junk"), ("arch_000000", "right"), ("arch_000005", "wrong"),
    ]  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_distractors_stand_behind_what_scores_the_same(toy: GroundTruth, at_once: int) -> None:
    """The ranking of gallery and distractors together, by a stable argsort, judged by the same lists."""
    random = np.random.default_rng(2)
    scores = random.integers(0, 12, (2, 60)).astype(np.float32)
    queries, everything = vectors_with_scores(scores)
    blocks = [everything[start : start + at_once] for start in range(8, 60, at_once)]
    measured = measure_revisited(toy, queries, everything[:8], conditions(), Distractors(blocks, ["first"]), 60)
    names = [*TOY["imlist"], "first", *(f"distractor {row}" for row in range(1, 52))]
    for row, result in zip(scores, measured[1].results, strict=True):
        order = np.argsort(-row, kind="stable")
        assert [found.id for found in result.first] == [names[each] for each in order]
    assert (measured[1].gallery_photos, measured[1].distractors) == (60, 52)
    whole = GroundTruth(tuple(names), toy.queries, toy.file)
    for together, apart in zip(measure_revisited(whole, queries, everything, conditions()), measured, strict=True):
        assert [each.average_precision for each in together.results] == [
            each.average_precision for each in apart.results
        ]


def test_photos_without_vectors_are_left_out(toy: GroundTruth) -> None:
    queries, gallery = vectors_with_scores(scores_of(TOY_ORDERS))
    gallery[2] = np.nan
    medium = measure_revisited(toy, queries, gallery, conditions(lost=["arch_000002"]))[1]
    # Query 1 without photo 2: positives 0, 1 at ranks 0 and 2. Query 2: only 7, behind 1, 0 and 4.
    assert [result.positives for result in medium.results] == [2, 1]
    assert medium.results[0].average_precision == pytest.approx((1 + (0.5 + 2 / 3) / 2) / 2)
    assert medium.results[1].average_precision == pytest.approx((0 + 1 / 4) / 2)
    assert medium.excluded["lost"] == ("arch_000002",)
    assert medium.gallery_photos == 7
    gallery[7] = np.nan
    medium = measure_revisited(toy, queries, gallery, conditions())[1]
    assert medium.results[1].average_precision is None
    assert medium.excluded == {"queries without positives": ("arch_000009",)}
    queries[0] = np.nan
    assert [each.id for each in measure_revisited(toy, queries, gallery, conditions())[0].results] == ["arch_000009"]
    queries[1] = np.nan
    with pytest.raises(DataError, match="No query of roxford5k has a vector"):
        measure_revisited(toy, queries, gallery, conditions())


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_distractors_without_a_vector_are_named(toy: GroundTruth, broken: float) -> None:
    queries, gallery = vectors_with_scores(scores_of(TOY_ORDERS))
    block = np.full((3, 2), -100.0, dtype=np.float32)
    block[1, 0] = broken
    measured = measure_revisited(toy, queries, gallery, conditions(), Distractors([block], ["a", "b", "c"], ["d"]))[0]
    assert all(found.id != "b" for each in measured.results for found in each.first)
    assert (measured.gallery_photos, measured.distractors) == (10, 2)
    assert measured.excluded["distractors without a vector"] == ("d", "b")


def test_vectors_of_another_shape_are_refused(toy: GroundTruth) -> None:
    queries, gallery = vectors_with_scores(scores_of(TOY_ORDERS))
    with pytest.raises(DataError, match="2 queries and 8 photos"):
        measure_revisited(toy, queries, gallery[:7], conditions())
    with pytest.raises(DataError, match="distractors in 2 dimensions"):
        measure_revisited(toy, queries, gallery, conditions(), Distractors([gallery[:, :1]]))


def test_a_measurement_is_read_back(toy: GroundTruth, tmp_path: Path) -> None:
    measured = measure_revisited(toy, *vectors_with_scores(scores_of(TOY_ORDERS)), conditions())[0]
    measured.write(tmp_path / "easy.json")
    assert read_measurement(tmp_path / "easy.json") == measured


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_the_benchmarks_own_evaluator_agrees(protocol: int) -> None:
    """Places of the positives and junk of revisited Oxford in a random ranking, and what its evaluator makes of them."""
    fixture = np.load(TRAINING_FIXTURES / "revisited_rankings.npz")
    lists = np.split(fixture["places"].astype(np.int64), np.cumsum(fixture["counts"].ravel())[:-1])
    queries = tuple(
        Query(f"q{i}", (0, 0, 1, 1), "", lists[i], lists[i + 1], lists[i + 2]) for i in range(0, len(lists), 3)
    )
    truth = GroundTruth(tuple(f"p{row}" for row in range(4993)), queries, Path())
    gallery = -np.arange(4993, dtype=np.float32)[:, None]
    measured = measure_revisited(truth, np.ones((len(queries), 1), dtype=np.float32), gallery, conditions())[protocol]
    expected = [None if np.isnan(value) else value for value in fixture[f"{measured.protocol}_aps"].tolist()]
    assert [each.average_precision for each in measured.results] == pytest.approx(expected, abs=1e-12)
    means = [measured.mean_average_precision, *(measured.mean_precision(k) for k in (1, 5, 10))]
    assert means == pytest.approx(fixture[f"{measured.protocol}_means"].tolist(), abs=1e-12)


@pytest.mark.parametrize("dataset", ["roxford5k", "rparis6k"])
@pytest.mark.parametrize("suffix", ["pkl", "json"])
def test_the_benchmarks_own_evaluator_agrees_on_the_published_lists(shared: Path, dataset: str, suffix: str) -> None:
    path, reference = shared / f"data/revisited/gnd_{dataset}.{suffix}", shared / "reference/revisited_values.json"
    if not (path.exists() and reference.exists()):
        pytest.skip("the published ground truth is not on this machine")
    truth, values = read_ground_truth(path), json.loads(reference.read_text())
    random = np.random.default_rng(values["seed"])
    scores = np.empty((len(truth.queries), len(truth.images)))
    for row, query in zip(scores, truth.queries, strict=True):
        row[:] = random.standard_normal(len(truth.images))
        row[query.easy] += 2.2
        row[query.hard] += 1.2
        row[query.junk] += 1.0
    assert len({query.landmark for query in truth.queries}) == 11
    for measured in measure_revisited(truth, *vectors_with_scores(scores), conditions(dataset)):
        expected = values[dataset][measured.protocol]
        assert [each.average_precision for each in measured.results] == pytest.approx(expected["aps"], abs=1e-12)
        assert measured.mean_average_precision == pytest.approx(expected["map"], abs=1e-12)
        assert [measured.mean_precision(k) for k in (1, 5, 10)] == pytest.approx(expected["mpr"], abs=1e-12)


def test_queries_of_one_landmark_share_its_name(tmp_path: Path) -> None:
    shown = {"easy": [0], "hard": [], "junk": []}
    truth = truth_of(4, [shown, shown, {"easy": [1], "hard": [], "junk": []}, {"easy": [], "hard": [], "junk": []}])
    truth["qimlist"] = ["oxford_000001", "keble_000001", "oxford_000002", "oxford_000003"]
    truth["imlist"] = ["oxford_000009", "keble_000007", "oxford_000005", "oxford_000006"]
    queries = read_ground_truth(write_truth(tmp_path, truth)).queries
    assert [query.landmark for query in queries] == ["keble", "keble", "keble", "oxford_000003"]
    assert queries[0].box == tuple(BOX)


def test_rankings_made_elsewhere_may_be_cut(toy: GroundTruth) -> None:
    orders = [np.array(order) for order in TOY_ORDERS]
    whole = measure_rankings(toy, orders, conditions())
    by_scores = measure_revisited(toy, *vectors_with_scores(scores_of(TOY_ORDERS)), conditions(), first=0)
    assert [each.results for each in whole] == [each.results for each in by_scores]
    # The first has one of three positives, behind a junk photo. The second, cut before its positives, has none.
    medium = measure_rankings(toy, [orders[0][:2], orders[1][:1]], conditions())[1]
    assert [each.average_precision for each in medium.results] == pytest.approx([1 / 3, 0])
    assert [each.positives for each in medium.results] == [3, 2]
    assert [each.precision for each in medium.results] == [{1: 1, 5: 1, 10: 1}, {1: 0, 5: 0, 10: 0}]
    assert measure_rankings(toy, [[], []], conditions())[1].mean_average_precision == 0
    for wrong in ([0, 0], [8], [-1]):
        with pytest.raises(DataError, match="rows from 0 to 7, each once"):
            measure_rankings(toy, [wrong, []], conditions())
    with pytest.raises(DataError, match="each of 2 queries, got 1"):
        measure_rankings(toy, [[]], conditions())
