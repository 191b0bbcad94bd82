"""Limits on the requests of each key per second: one token bucket for each key, in memory."""

from __future__ import annotations


class RateLimiter:
    """The buckets of one server. A bucket holds the requests of one second (at least one) and fills at the key's rate.

    Used from the event loop only. Times are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str, per_second: float, now: float) -> float:
        """Take one request from a key's bucket. Returns 0 if there was one, else the seconds until there will be one."""
        size = max(1.0, per_second)
        left, since = self._buckets.get(key_id, (size, now))
        left = min(size, left + (now - since) * per_second)
        is_allowed = left >= 1.0
        self._buckets[key_id] = (left - 1.0 if is_allowed else left, now)
        return 0.0 if is_allowed else (1.0 - left) / per_second
