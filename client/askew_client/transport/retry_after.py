"""The header Retry-After: seconds or a date, from whatever a server or a proxy wrote there."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 366 * 24 * 3600.0
"""Seconds: anything longer is read as a year."""


def seconds_of(text: str) -> float | None:
    """The seconds that a Retry-After asks to wait, from 0 to LONGEST; None if it is neither a number nor a date."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST)
    try:
        moment = parsedate_to_datetime(text)
        # A date without a zone is in UTC, by the format of HTTP dates.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = (moment - datetime.now(UTC)).total_seconds()
    # Dates far away are beyond Python's calendar; parts of odd dates are of odd types.
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return None
    return min(max(0.0, seconds), LONGEST)
