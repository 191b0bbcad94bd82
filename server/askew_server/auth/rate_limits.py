"""How often each key may ask: a token bucket a key, in memory."""

from __future__ import annotations


class RateLimiter:
    """The buckets of one server. A bucket holds one second's requests (one at least) and fills at the key's rate.

    Used from the event loop only. Times are seconds of one clock that never goes back.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str, per_second: float, now: float) -> float:
        """Take one request from a key's bucket: 0 if it may go on, else the seconds until it might."""
        room = max(1.0, per_second)
        left, since = self._buckets.get(key_id, (room, now))
        left = min(room, left + (now - since) * per_second)
        may_go_on = left >= 1.0
        self._buckets[key_id] = (left - 1.0 if may_go_on else left, now)
        return 0.0 if may_go_on else (1.0 - left) / per_second
