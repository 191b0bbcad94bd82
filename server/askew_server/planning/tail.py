"""How long a search over several shards takes, which ends with the slowest of them: a simulation from measured times.

See J. Dean, L. A. Barroso, "The Tail at Scale", Communications of the ACM 56 (2013), also for hedged requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.errors import AskewError

FEWEST = 100
_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Tail:
    """Seconds of searches over `shards`: the median, and what 1 in 100 and 1 in 1,000 exceed."""

    shards: int
    median: float
    p99: float
    p999: float


def simulate_tail(
    seconds: NDArray[np.float64], shards: int, *, searches: int = 100_000, seed: int = 0, hedged: bool = False
) -> Tail:
    """Simulate searches that ask every shard at once, each as slow as one of the measured times, float64 [n].

    The shards are taken to be independent of each other. `hedged`: a shard that has not answered by the 95th percentile
    is asked a second time, on a replica, and the first answer counts. The same seed gives the same result. Raises
    AskewError for fewer than FEWEST times or times that are no times.
    """
    if len(seconds) < FEWEST or not np.all(np.isfinite(seconds) & (seconds > 0)):
        raise AskewError(f"Expected {FEWEST} or more times above 0, got {len(seconds):,}. Measure more searches.")
    if not 1 <= shards <= _AT_ONCE:
        raise AskewError(f"Expected 1 to {_AT_ONCE:,} shards, got {shards:,}.")
    random = np.random.default_rng(seed)
    late = float(np.quantile(seconds, 0.95))
    slowest = np.empty(searches)
    step = max(1, _AT_ONCE // shards)
    for start in range(0, searches, step):
        size = (min(step, searches - start), shards)
        times = random.choice(seconds, size)
        if hedged:
            times = np.minimum(times, late + random.choice(seconds, size))
        slowest[start : start + step] = times.max(axis=1)
    median, p99, p999 = np.quantile(slowest, [0.5, 0.99, 0.999])
    return Tail(shards, float(median), float(p99), float(p999))
