from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.evaluate.statistics.intervals import interval_of_draws, interval_of_mean
from askew_training.evaluate.statistics.resampling import by_instance, resampled_means
from askew_training.evaluate.statistics.student_t import student_quantile


def test_all_queries_of_an_instance_are_drawn_together() -> None:
    # Three queries of an arch, one of a tower: of four possible draws one holds the arch alone, one the tower alone.
    grouped = by_instance(np.array([1.0, 1.0, 1.0, 0.0]), ["arch", "arch", "arch", "tower"])
    draws = resampled_means(grouped, 40_000, seed=1)
    means, counts = np.unique(draws, return_counts=True)
    assert means.tolist() == [0.0, 0.75, 1.0]
    np.testing.assert_allclose(counts / len(draws), [0.25, 0.5, 0.25], atol=0.01)


def test_draws_agree_with_every_possible_draw() -> None:
    values, instances = np.array([0.9, 0.5, 0.2, 0.4, 0.1]), ["a", "b", "b", "c", "c"]
    by_name = {"a": (0.9, 1), "b": (0.7, 2), "c": (0.5, 2)}
    every = [
        sum(by_name[name][0] for name in drawn) / sum(by_name[name][1] for name in drawn)
        for drawn in itertools.product("abc", repeat=3)
    ]
    draws = resampled_means(by_instance(values, instances), 100_000, seed=3)
    assert set(np.round(np.unique(draws), 9)) == set(np.round(every, 9))
    assert draws.mean() == pytest.approx(np.mean(every), abs=0.002)
    assert draws.std() == pytest.approx(np.std(every), abs=0.002)


def test_the_same_instances_are_drawn_for_every_method_whatever_the_order_of_its_queries() -> None:
    values, instances = np.linspace(0, 1, 12), [f"i{k % 4}" for k in range(12)]
    order = np.random.default_rng(0).permutation(12)
    first = resampled_means(by_instance(values, instances), 50, seed=5)
    second = resampled_means(by_instance(values[order], [instances[k] for k in order]), 50, seed=5)
    np.testing.assert_allclose(first, second, atol=1e-12)
    assert interval_of_mean(values, instances, seed=5) == interval_of_mean(values, instances, seed=5)


def test_an_interval_of_equal_values_is_a_point() -> None:
    interval = interval_of_mean(np.full(6, 0.25), list("aabbcc"))
    assert interval is not None
    assert (interval.low, interval.high) == (0.25, 0.25)
    assert 0.25 in interval


def test_few_instances_widen_an_interval_as_students_t_does() -> None:
    # With normal draws of spread s, the interval is mean ± s · sqrt(k / (k − 1)) · t: of 11 instances 2.228, not 1.960.
    draws = np.random.default_rng(0).normal(0, 1, 200_000)
    interval = interval_of_draws(draws, 11, 0.95)
    assert interval.high == pytest.approx(2.2281 * np.sqrt(1.1), abs=0.03)
    assert interval.low == pytest.approx(-2.2281 * np.sqrt(1.1), abs=0.03)
    assert interval_of_draws(draws, 100_000, 0.95).high == pytest.approx(1.96, abs=0.02)


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [
        (0.975, 1, 12.70620474),
        (0.975, 2, 4.30265273),
        (0.975, 10, 2.22813885),
        (0.995, 69, 2.64897),
        (0.02, 5, -2.75650852),
    ],
)
def test_quantiles_of_students_t_are_those_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-5)


def test_one_instance_says_nothing_of_others() -> None:
    assert interval_of_mean(np.array([0.2, 0.9]), ["arch", "arch"]) is None


def test_values_that_cannot_be_averaged_are_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        interval_of_mean(np.array([0.2, np.nan]), ["a", "b"])
    with pytest.raises(DataError, match="one instance for each"):
        interval_of_mean(np.array([0.2]), ["a", "b"])
    with pytest.raises(DataError, match="between 0 and 1"):
        interval_of_mean(np.array([0.2, 0.3]), ["a", "b"], confidence=95)


@pytest.mark.slow
def test_ninety_five_of_a_hundred_intervals_hold_the_truth_where_queries_share_instances() -> None:
    """As in Oxford: 11 landmarks, whose queries do alike. Drawn one by one, queries would give intervals far too narrow."""
    random, trials, resamples = np.random.default_rng(7), 400, 1000
    truth, instances = 0.5, [f"landmark {k % 11}" for k in range(66)]
    numbers = np.arange(66) % 11
    by_landmark = by_query = 0
    for trial in range(trials):
        values = np.clip(truth + random.normal(0, 0.18, 11)[numbers] + random.normal(0, 0.1, 66), 0, 1)
        by_landmark += _holds(truth, values, instances, resamples, trial)
        by_query += _holds(truth, values, [str(k) for k in range(66)], resamples, trial)
    # 0.95 ± three standard errors of 400 trials.
    assert 0.917 <= by_landmark / trials <= 0.983
    assert by_query / trials < 0.75


def _holds(truth: float, values: NDArray[np.float64], instances: list[str], resamples: int, seed: int) -> bool:
    interval = interval_of_mean(values, instances, resamples=resamples, seed=seed)
    assert interval is not None
    return truth in interval
