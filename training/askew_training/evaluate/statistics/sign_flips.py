"""The p-value of a paired difference: how often chance alone, the flip of a coin for each instance, does as much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLIPS_AT_ONCE = 1 << 22


def sign_flip_p_value(sums: NDArray[np.float64], resamples: int, seed: int) -> float:
    """The two-sided p-value of a sum of paired differences, by instance: float64 [k].

    If two methods were equally good, then for each instance either could as well have had the other's results. The
    p-value is the share of all such exchanges whose total is as far from 0 as the observed one (Fisher's randomisation
    test; for retrieval Smucker, Allan and Carterette, CIKM 2007). All exchanges are tried if they are no more than
    `resamples`, otherwise `resamples` random ones, among which the observed one counts as one.
    """
    # An exchange of equal results changes nothing.
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    observed = abs(float(sums.sum()))
    # Sums of the same numbers in another order differ in their last digits.
    reached = observed - 1e-12 * float(np.abs(sums).sum())
    # Flipping every sign leaves the distance from 0 as it is, so one sign may stay.
    if len(sums) - 1 < 63 and 2 ** (len(sums) - 1) <= resamples:
        codes = np.arange(2 ** (len(sums) - 1))[:, None]
        signs = 1.0 - 2.0 * ((codes >> np.arange(len(sums) - 1)) & 1)
        return float((np.abs(sums[0] + signs @ sums[1:]) >= reached).mean())
    random = np.random.default_rng(seed)
    at_once = max(1, FLIPS_AT_ONCE // len(sums))
    as_far = 0
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        signs = 1.0 - 2.0 * random.integers(0, 2, (rows, len(sums)), dtype=np.int8)
        as_far += int((np.abs(signs @ sums) >= reached).sum())
    return (as_far + 1) / (resamples + 1)
