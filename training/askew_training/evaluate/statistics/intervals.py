"""Confidence intervals of means over queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.evaluate.statistics.resampling import by_instance, resampled_means
from askew_training.evaluate.statistics.student_t import student_quantile

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        """Whether a value lies in it."""
        return self.low <= value <= self.high


def interval_of_mean(
    values: NDArray[np.float64],
    instances: Sequence[str],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """The interval of the mean of `values`, float64 [n], one for each query, whose `instances` [n] are drawn anew.

    For an interval of a difference, give the differences of the queries. None if the queries show one instance only,
    which says nothing of others. Raises DataError for values without instances, or a confidence outside (0, 1).
    """
    grouped = by_instance(values, instances)
    if len(grouped.sums) < 2:
        return None
    return interval_of_draws(resampled_means(grouped, resamples, seed), len(grouped.sums), confidence)


def interval_of_draws(draws: NDArray[np.float64], instances: int, confidence: float) -> Interval:
    """The expanded percentile interval of resampled means, float64 [b], of 2 or more `instances`.

    Percentiles alone are too narrow for few instances: they miss the factor (k − 1)/k of a sample's variance, and use the
    normal distribution where Student's t belongs. Both are mended by taking percentiles further out (Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69 (2015), section 3.3).
    """
    if not 0 < confidence < 1:
        raise DataError(f"Expected a confidence between 0 and 1, such as 0.95, got {confidence:g}.")
    reach = student_quantile((1 + confidence) / 2, instances - 1) * np.sqrt(instances / (instances - 1))
    tail = NormalDist().cdf(-float(reach))
    low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(float(low), float(high))
