"""Dates and times as texts of ISO 8601, compared as moments."""

from __future__ import annotations

import re
from datetime import date

Instant = tuple[int, int]
"""Seconds since 1970-01-01T00:00:00Z, and nanoseconds in [0, 1e9). Tuples compare as the moments do."""

_TEXT = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?)?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?)?"
)
_EPOCH = date(1970, 1, 1).toordinal()


def instant_of(text: str) -> Instant | None:
    """The first moment of a date or time in the extended format of ISO 8601; None for any other text.

    From `2011` to `2011-05-01T12:30:00.123456789+02:00`; without an offset it is in UTC. A text may end after each
    component, and so `2011` is 2011-01-01T00:00:00Z. Years are 0001 to 9999; there are no leap seconds and no 24:00.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    offset = _offset(match["zone"])
    if hour > 23 or minute > 59 or second > 59 or offset is None:
        return None
    try:
        day = date(int(match["year"]), int(match["month"] or 1), int(match["day"] or 1)).toordinal() - _EPOCH
    except ValueError:
        return None
    seconds = 86_400 * day + 3_600 * hour + 60 * minute + second - offset
    return seconds, int((match["fraction"] or "").ljust(9, "0"))


def _offset(zone: str | None) -> int | None:
    """Seconds ahead of UTC; None if there is no such offset."""
    if zone is None or zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if hours > 23 or minutes > 59:
        return None
    return (-1 if zone[0] == "-" else 1) * (3_600 * hours + 60 * minutes)
