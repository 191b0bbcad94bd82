"""The simulated tail over shards: what must hold for any distribution, and the arithmetic of a known one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from askew_client.errors import AskewError
from askew_server.planning.tail import simulate_tail

SECONDS = np.random.default_rng(1).lognormal(-5, 0.5, 2_000)


def test_more_shards_are_slower_and_hedging_is_faster_where_times_vary() -> None:
    tails = [simulate_tail(SECONDS, shards, searches=20_000) for shards in (1, 4, 16, 64)]
    for faster, slower in itertools.pairwise(tails):
        assert faster.median < slower.median
        assert faster.p99 < slower.p99
    assert simulate_tail(SECONDS, 64, searches=20_000, hedged=True).p99 < tails[-1].p99
    assert tails[0].median == pytest.approx(np.median(SECONDS), rel=0.03)


def test_the_slowest_of_many_is_as_often_slow_as_probability_says() -> None:
    # One answer in 100 takes a second: of 100 shards, one is slow in 63 % of the searches.
    seconds = np.where(np.arange(1_000) % 100 == 0, 1.0, 0.01)
    assert simulate_tail(seconds, 1).median == 0.01
    assert simulate_tail(seconds, 100).median == 1.0
    assert simulate_tail(seconds, 50).median == 0.01


def test_a_seed_gives_the_same_figures_again() -> None:
    first, again, other = (simulate_tail(SECONDS, 8, searches=5_000, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("seconds", [SECONDS[:99], np.append(SECONDS, np.nan), np.append(SECONDS, 0), -SECONDS])
def test_what_is_no_distribution_of_times_is_refused(seconds: np.ndarray) -> None:
    with pytest.raises(AskewError, match="Expected 100 or more times above 0"):
        simulate_tail(seconds, 4)
