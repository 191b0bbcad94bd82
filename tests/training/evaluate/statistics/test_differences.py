from __future__ import annotations

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.statistics.differences import compare_with
from askew_training.evaluate.statistics.holm import holm, holm_confidences
from askew_training.evaluate.statistics.sign_flips import sign_flip_p_value
from tests.training.evaluate.measurements import measurement

LANDMARKS = [f"landmark {k}" for k in range(11)]


def test_holm_multiplies_the_smallest_most() -> None:
    # By hand: 0.01·4, 0.013·3 (not below 0.04), 0.03·2 and 0.04·1 (not below 0.06).
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.013]), [0.06, 0.04, 0.06, 0.04])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.02]), [0.02])
    assert holm([]).shape == (0,)


def test_the_smallest_p_value_needs_the_widest_interval() -> None:
    np.testing.assert_allclose(holm_confidences([0.03, 0.01, 0.2], 0.95), [1 - 0.05 / 2, 1 - 0.05 / 3, 0.95])


def test_few_instances_are_exchanged_in_every_way() -> None:
    # Of the 8 signs of 3, 2, 1, both +++ and −−− reach 6; for 3, 2, −1 four reach 4.
    assert sign_flip_p_value(np.array([3.0, 2.0, 1.0]), 10_000, seed=0) == pytest.approx(2 / 8)
    assert sign_flip_p_value(np.array([3.0, 2.0, -1.0]), 10_000, seed=0) == pytest.approx(4 / 8)
    assert sign_flip_p_value(np.array([0.0, 0.0]), 10_000, seed=0) == 1.0
    # 0.1 + 0.2 − 0.3 is not 0 in floating point.
    assert sign_flip_p_value(np.array([0.1, 0.2, -0.3]), 10_000, seed=0) == 1.0


def test_many_instances_are_exchanged_at_random() -> None:
    random = np.random.default_rng(2)
    sums = random.normal(0.4, 1.0, 60)
    p = sign_flip_p_value(sums, 20_000, seed=1)
    # The normal approximation of the same test.
    assert p == pytest.approx(2 * (1 - _normal(abs(sums.sum()) / np.sqrt((sums**2).sum()))), abs=0.01)
    assert sign_flip_p_value(np.ones(60), 999, seed=1) == pytest.approx(1 / 1000)


@pytest.mark.slow
def test_equal_methods_differ_in_one_family_of_twenty_at_most() -> None:
    """Five students that are equally good, over and over: a real difference is announced in about 5 % of the families."""
    random, families, wrong = np.random.default_rng(5), 150, 0
    for family in range(families):
        everyone = [_of_landmarks(random, 0.5, 0.1) for _ in range(5)]
        wrong += any(each.verdict != "inside the noise" for each in compare_with(everyone[0], everyone[1:], resamples=2000, seed=family))  # fmt: skip
    assert wrong / families <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / families)


def test_a_difference_of_every_landmark_is_real_and_one_of_chance_is_inside_the_noise() -> None:
    random = np.random.default_rng(0)
    base = {name: random.uniform(0.3, 0.6, 6).tolist() for name in LANDMARKS}
    raised = {name: [value + random.uniform(0.02, 0.06) for value in values] for name, values in base.items()}
    shaken = {name: [value + shift for value in values] for (name, values), shift in zip(base.items(), random.normal(0, 0.05, 11), strict=True)}  # fmt: skip
    lowered = {name: [value - 0.1 for value in values] for name, values in base.items()}
    found = compare_with(measurement(base, queries="base"), [measurement(each) for each in (raised, shaken, lowered)])
    assert [each.verdict for each in found] == ["better", "inside the noise", "worse"]
    better, noise, worse = found
    assert better.interval is not None and better.corrected_interval is not None and noise.interval is not None
    assert 0.02 < better.interval.low < better.difference < better.interval.high < 0.06
    assert (
        better.corrected_interval.low <= better.interval.low and better.interval.high <= better.corrected_interval.high
    )
    assert better.p_value == pytest.approx(2 / 2**11)
    # The two smallest are alike, so that the second is not below the first.
    assert worse.corrected_p_value == better.corrected_p_value == pytest.approx(3 * 2 / 2**11)
    assert 0 in noise.interval
    assert better.sentence.startswith("student@1 is better than base@1 by 4.")
    assert "11 instances" in better.sentence
    assert "inside the noise" in noise.sentence
    assert "corrected for 3 comparisons" in noise.sentence


def test_correction_can_take_a_difference_back_into_the_noise() -> None:
    values = [0.06, 0.05, 0.04, 0.05, 0.03, 0.02, -0.01]
    base = measurement({f"{k}": [0.5] for k in range(7)}, queries="base")
    other = measurement({f"{k}": [0.5 + value] for k, value in enumerate(values)})
    alone, among = compare_with(base, [other]), compare_with(base, [other] * 5)
    assert alone[0].verdict == "better"
    assert {each.verdict for each in among} == {"inside the noise"}


def test_only_queries_that_both_counted_are_compared() -> None:
    base = measurement({"a": [0.5, None], "b": [0.4]}, queries="base")
    other = measurement({"a": [0.6, 0.9], "b": [0.4], "c": [1.0]})
    (found,) = compare_with(base, [other])
    assert (found.queries, found.instances) == (2, 2)
    assert found.difference == pytest.approx(0.05)


def test_queries_of_one_instance_cannot_tell_methods_apart() -> None:
    (found,) = compare_with(measurement({"a": [0.1, 0.2]}, queries="base"), [measurement({"a": [0.8, 0.9]})])
    assert found.verdict == "inside the noise"
    assert found.interval is None and found.corrected_interval is None
    assert "one instance" in found.sentence


def test_measurements_of_different_protocols_are_not_compared() -> None:
    with pytest.raises(DataError, match="one dataset and protocol"):
        compare_with(measurement({"a": [0.1]}, protocol="hard"), [measurement({"a": [0.1]}, protocol="medium")])


def _of_landmarks(random: np.random.Generator, level: float, spread: float):
    return measurement(
        {
            name: np.clip(level + random.normal(0, spread) + random.normal(0, 0.05, 4), 0, 1).tolist()
            for name in LANDMARKS
        }
    )


def _normal(value: float) -> float:
    from statistics import NormalDist

    return NormalDist().cdf(value)
