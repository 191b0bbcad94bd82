"""How many requests a key may send, by a clock that the test sets."""

from __future__ import annotations

import pytest

from askew_server.auth.rate_limits import RateLimiter


def test_a_key_may_send_the_requests_of_one_second_at_once_and_then_at_its_rate() -> None:
    limiter = RateLimiter()
    assert [limiter.take("a", 4, now=10.0) for _ in range(4)] == [0, 0, 0, 0]
    assert limiter.take("a", 4, now=10.0) == pytest.approx(0.25)
    assert limiter.take("a", 4, now=10.25) == 0
    assert limiter.take("a", 4, now=10.25) == pytest.approx(0.25)
    assert [limiter.take("a", 4, now=99.0) for _ in range(4)] == [0, 0, 0, 0]
    assert limiter.take("a", 4, now=99.0) > 0


def test_a_rate_below_one_allows_one_request_and_then_waits() -> None:
    limiter = RateLimiter()
    assert limiter.take("a", 0.1, now=0.0) == 0
    assert limiter.take("a", 0.1, now=5.0) == pytest.approx(5)
    assert limiter.take("a", 0.1, now=10.0) == 0


def test_each_key_has_its_own_requests() -> None:
    limiter = RateLimiter()
    assert limiter.take("a", 1, now=0.0) == 0
    assert limiter.take("b", 1, now=0.0) == 0
    assert limiter.take("a", 1, now=0.0) > 0
