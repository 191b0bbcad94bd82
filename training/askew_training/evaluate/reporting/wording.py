"""Figures and names as a report shows them. Names come from files, so they may hold anything."""

from __future__ import annotations

import math
import unicodedata

from askew_training.evaluate.comparison.record import Interval

_ORDINALS = {1: "st", 2: "nd", 3: "rd"}
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode that show nothing themselves, and could reorder or hide what stands beside them."""


def readable(text: str) -> str:
    """A name with every sign visible: control signs, line breaks and marks of writing direction become `\\u202e`."""
    return "".join(f"\\u{ord(sign):04x}" if unicodedata.category(sign) in _UNSEEN else sign for sign in text)


def percent(share: float) -> str:
    """A share as per cent with one decimal, `65.4`; a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


def signed_percent(difference: float) -> str:
    """A difference of shares in points, with a sign that is as wide as a plus: `+1.2`, `−0.4`, `0.0`."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def percent_range(interval: Interval | None, *, signed: bool = False) -> str:
    """An interval in per cent, `[58.1, 66.0]`; empty without one."""
    if interval is None:
        return ""
    write = signed_percent if signed else percent
    return f"[{write(interval.low)}, {write(interval.high)}]"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `11th`."""
    suffix = "th" if number % 100 in {11, 12, 13} else _ORDINALS.get(number % 10, "th")
    return f"{number}{suffix}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 query`, `4,993 photos`. `plural`: where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short_number(value: float) -> str:
    """About three digits: `42.9`, `0.61`, `1,230`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"
