"""How sure the difference between two methods is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askew_training.evaluate.measurement import Measurement, paired

DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """A difference of mAP, and the interval that holds 95 % of its resamples."""

    mean: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


def difference(measured: Measurement, plain: Measurement, draws: int = DRAWS, seed: int = 0) -> Difference:
    """The mAP of one measurement above another's, query by query, resampled by instances. Raises what `paired` raises."""
    mine, theirs, instances = paired(measured, plain)
    _, numbers = np.unique(instances, return_inverse=True)
    sums, counts = np.bincount(numbers, mine - theirs), np.bincount(numbers)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), [0.025, 0.975])
    return Difference(float((mine - theirs).mean()), float(low), float(high))
