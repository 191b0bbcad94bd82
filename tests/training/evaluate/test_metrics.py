from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.metrics import average_precision, own_ranks, positive_ranks, precision_at, recall_at, score
from tests.support.paths import TRAINING_FIXTURES


@pytest.mark.parametrize(
    ("ranks", "positives", "expected"),
    [([0, 2, 5], 3, 0.677778), ([0, 1, 2], 3, 1.0), ([3], 1, 0.125), ([0, 2], 4, 0.395833), ([], 2, 0.0)],
)
def test_average_precision_is_the_benchmarks_own(ranks, positives, expected):
    assert average_precision(np.array(ranks, dtype=np.int64), positives) == pytest.approx(expected, abs=1e-6)


TOY = [
    (np.array([3, 0, 5, 1, 7, 2, 4, 6]), {"easy": [0, 1], "hard": [2], "junk": [3]}),
    (np.array([6, 2, 1, 0, 4, 7, 5, 3]), {"easy": [], "hard": [7, 2], "junk": [6]}),
]
PROTOCOLS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}


def measured(queries, protocol):
    """APs (None without positives) and ranks, by the easy, medium and hard protocols of the benchmark."""
    ok, junk = PROTOCOLS[protocol]
    ranks, counts = [], []
    for ranking, truth in queries:
        positives = np.array([i for name in ok for i in truth[name]], dtype=np.int64)
        ignored = np.array([i for name in junk for i in truth[name]], dtype=np.int64)
        ranks.append(positive_ranks(ranking, positives, ignored))
        counts.append(len(positives))
    return ranks, counts


@pytest.mark.parametrize(
    ("protocol", "mean", "precision"),
    [
        ("easy", 0.791667, {1: 1, 5: 0.666667}),
        ("medium", 0.686806, {1: 1, 5: 0.5, 10: 0.5}),
        ("hard", 0.414583, {1: 0.5, 5: 0.366667}),
    ],
)
def test_toy_database(protocol, mean, precision):
    ranks, counts = measured(TOY, protocol)
    assert score(ranks, counts).mean_average_precision == pytest.approx(mean, abs=1e-6)
    with_positives = [r for r, count in zip(ranks, counts, strict=True) if count]
    for k, expected in precision.items():
        assert np.mean([precision_at(r, k) for r in with_positives]) == pytest.approx(expected, abs=1e-6)


def test_recall_and_precision_of_scores():
    scores = score([np.array([0, 7]), np.array([4]), np.array([], dtype=np.int64)], [2, 1, 3])
    assert (scores.queries, scores.precision_at_1) == pytest.approx((3, 1 / 3))
    assert scores.recall == {1: pytest.approx(1 / 3), 5: pytest.approx(2 / 3), 10: pytest.approx(2 / 3)}


def test_nothing_to_average_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        score([np.array([], dtype=np.int64)], [0])
    with pytest.raises(ValueError, match="at least one"):
        average_precision(np.array([0, 1]), 1)


FIXTURES = TRAINING_FIXTURES


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_benchmarks_own_evaluator_agrees_query_by_query(protocol):
    """Places of the positives and junk of revisited Oxford in a random ranking, and what its evaluator makes of them."""
    fixture = np.load(FIXTURES / "revisited_rankings.npz")
    lists = np.split(fixture["places"].astype(np.int64), np.cumsum(fixture["counts"].ravel())[:-1])
    ranking = np.arange(4993)
    queries = [
        (ranking, dict(zip(("easy", "hard", "junk"), lists[i : i + 3], strict=True))) for i in range(0, len(lists), 3)
    ]
    ranks, counts = measured(queries, protocol)
    for query_ranks, count, expected in zip(ranks, counts, fixture[f"{protocol}_aps"], strict=True):
        assert np.isnan(expected) == (count == 0)
        if count:
            assert average_precision(query_ranks, count) == pytest.approx(expected, abs=1e-9)
    kept = [query_ranks for query_ranks, count in zip(ranks, counts, strict=True) if count]
    means = [score(ranks, counts).mean_average_precision]
    means += [float(np.mean([precision_at(query_ranks, k) for query_ranks in kept])) for k in (1, 5, 10)]
    assert means == pytest.approx(list(fixture[f"{protocol}_means"]), abs=1e-9)


def test_the_rank_of_the_one_right_answer():
    scores = np.array([[0.9, 0.5, 0.9], [0.1, 0.2, 0.3], [np.nan, 0.2, 0.3]])
    same = np.array([[True, False, False], [True, True, False], [True, False, False]])
    ranks = own_ranks(scores, scores[:, 0], same)
    # A tie counts against the query, the same photo under another id does not, NaN finds nothing.
    assert [rank.tolist() for rank in ranks] == [[1], [1], [2]]
    assert recall_at(ranks, 1) == 0
    assert recall_at(ranks, 2) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at least one query"):
        recall_at([], 1)


@given(st.sets(st.integers(0, 200), min_size=1, max_size=20))
def test_average_precision_falls_when_a_positive_falls(ranks):
    ordered = np.array(sorted(ranks))
    lower = ordered.copy()
    lower[-1] += 1
    best = average_precision(np.arange(len(ordered)), len(ordered))
    assert best == pytest.approx(1.0)
    assert 0 < average_precision(lower, len(lower)) < average_precision(ordered, len(ordered)) <= 1
    assert all(a < b for a, b in pairwise(ordered))


@pytest.mark.parametrize("dataset", ["roxford5k", "rparis6k"])
def test_the_benchmarks_own_evaluator_agrees_on_the_real_lists(shared: Path, dataset: str):
    truth_path = shared / "data" / "revisited" / f"gnd_{dataset}.json"
    reference_path = shared / "reference" / "revisited_values.json"
    if not (truth_path.exists() and reference_path.exists()):
        pytest.skip("the real ground truth is not on this machine")
    truth = json.loads(truth_path.read_text())
    reference = json.loads(reference_path.read_text())
    values = reference[dataset]
    random = np.random.default_rng(reference["seed"])
    queries = []
    for query in truth["gnd"]:
        scores = random.standard_normal(len(truth["imlist"]))
        scores[query["easy"]] += 2.2
        scores[query["hard"]] += 1.2
        scores[query["junk"]] += 1.0
        queries.append((np.argsort(-scores, kind="stable"), query))
    for protocol in PROTOCOLS:
        ranks, counts = measured(queries, protocol)
        expected = values[protocol]
        for query_ranks, count, ap in zip(ranks, counts, expected["aps"], strict=True):
            assert (ap is None) == (count == 0)
            if ap is not None:
                assert average_precision(query_ranks, count) == pytest.approx(ap, abs=1e-9)
        assert score(ranks, counts).mean_average_precision == pytest.approx(expected["map"], abs=1e-9)
