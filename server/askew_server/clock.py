"""The time of day as ISO 8601 text in UTC. Each kind of record keeps the precision that it has always had."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], str]
"""Returns the present moment as text."""


def utc_seconds() -> str:
    """The present moment to the second, for saved indexes."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def utc_milliseconds() -> str:
    """The present moment to the millisecond, for jobs and snapshots."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def utc_microseconds() -> str:
    """The present moment to the microsecond, for encoders (which it orders), probes, keys and galleries."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
