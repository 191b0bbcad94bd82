"""Means over queries, with the instances that the queries show drawn anew, with replacement.

Queries of one instance rise and fall together: Oxford's 70 queries show 11 landmarks. Drawn one by one, they would make
an interval look several times as certain as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError

COUNTS_AT_ONCE = 1 << 22
"""Draws in memory at a time: 32 MB."""


@dataclass(frozen=True)
class ByInstance:
    """The sum of the values of each instance's queries, float64 [k], and how many they are, float64 [k].

    Instances are in the order of their ids, so that the same instances are drawn for every method under one seed.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over queries."""
        return float(self.sums.sum() / self.counts.sum())


def by_instance(values: NDArray[np.float64], instances: Sequence[str]) -> ByInstance:
    """Sum up values, float64 [n], by what their queries show, [n]. Raises DataError for other lengths, or none."""
    if not len(values) or values.shape != (len(instances),):
        raise DataError(
            f"Expected one instance for each of some values, got {list(values.shape)} and {len(instances)}."
        )
    if not np.isfinite(values).all():
        raise DataError("Expected finite values, got NaN or infinity. Leave out queries without positives.")
    _, number = np.unique(np.asarray(instances, dtype=str), return_inverse=True)
    return ByInstance(np.bincount(number, weights=values).astype(np.float64), np.bincount(number).astype(np.float64))


def resampled_means(grouped: ByInstance, resamples: int, seed: int) -> NDArray[np.float64]:
    """The mean over queries in each of `resamples` draws of as many instances as there are, float64 [resamples].

    Every draw holds all queries of an instance that it holds, as often as it holds it.
    """
    random = np.random.default_rng(seed)
    instances = len(grouped.sums)
    at_once = max(1, COUNTS_AT_ONCE // instances)
    means = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = random.integers(0, instances, (rows, instances)) + np.arange(rows)[:, None] * instances
        times = np.bincount(drawn.ravel(), minlength=rows * instances).reshape(rows, instances).astype(np.float64)
        means.append((times @ grouped.sums) / (times @ grouped.counts))
    return np.concatenate(means)
