"""The tests of filters on the arrays of a column: as predicates.py has them, for all values at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from askew_client.contract.filters.conditions import Bound, Scalar
from askew_client.contract.filters.instants import instant_of
from askew_server.storage.filtering.payload_column import (
    IS_FALSE,
    IS_LARGE,
    IS_NUMBER,
    IS_TEXT,
    IS_TRUE,
    Codes,
    Column,
    Mask,
    Numbers,
)
from askew_server.storage.filtering.predicates import COMPARISONS

Test = Callable[[Column, Codes, Numbers], Mask]

_NUMPY_COMPARISONS: dict[str, Callable[..., Mask]] = {
    "gt": np.greater,
    "gte": np.greater_equal,
    "lt": np.less,
    "lte": np.less_equal,
}


def among(values: Iterable[Scalar]) -> Test:
    """Whether a value is one of these."""
    flags = {IS_TRUE if value else IS_FALSE for value in values if isinstance(value, bool)}
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    # A number that float64 does not hold equals none that it holds.
    exact = [nearest for value in numbers if (nearest := _nearest(value)) == value]

    def test(column: Column, types: Codes, held: Numbers) -> Mask:
        codes = [column.codes[text] for text in texts if text in column.codes]
        parts = [types == flag for flag in flags]
        if codes:
            parts.append((types == IS_TEXT) & _is_in(held, codes))
        if exact:
            parts.append((types == IS_NUMBER) & _is_in(held, exact))
        if column.has_large and (large := [column.codes[number] for number in numbers if number in column.codes]):
            parts.append((types == IS_LARGE) & _is_in(held, large))
        if not parts:
            return np.zeros(len(types), dtype=np.bool_)
        mask: Mask = parts[0]
        for part in parts[1:]:
            mask |= part
        return mask

    return test


def _is_in(held: Numbers, wanted: list[Any]) -> Mask:
    mask: Mask = held == wanted[0] if len(wanted) == 1 else np.isin(held, wanted)
    return mask


def numbers_within(bounds: Mapping[Any, Bound]) -> Test:
    """Whether a value is a number within bounds."""
    comparisons = [_comparison(name, bound) for name, bound in bounds.items() if not isinstance(bound, str)]

    exact = [(COMPARISONS[name], bound) for name, bound in bounds.items()]

    def test(column: Column, types: Codes, held: Numbers) -> Mask:
        mask: Mask = types == IS_NUMBER
        for holds, limit in comparisons:
            mask &= holds(held, limit)
        if column.has_large:
            within = [
                isinstance(number, int) and all(holds(number, bound) for holds, bound in exact)
                for number in column.codes
            ]
            large = np.flatnonzero(types == IS_LARGE)
            mask[large] = np.array(within)[held[large].astype(np.int64)]
        return mask

    return test


def _comparison(name: str, bound: float) -> tuple[Callable[..., Mask], float]:
    """A comparison of float64 numbers that holds for the same ones as the comparison with an exact bound.

    No float64 number lies between the bound and the nearest one.
    """
    nearest = _nearest(bound)
    if nearest > bound:
        name = {"gt": "gte", "lte": "lt"}.get(name, name)
    elif nearest < bound:
        name = {"gte": "gt", "lt": "lte"}.get(name, name)
    return _NUMPY_COMPARISONS[name], nearest


def _nearest(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def dates_within(bounds: Mapping[Any, Bound]) -> Test:
    """Whether a value is a date or time, as ISO 8601 text, within bounds."""
    moments = [(name, instant_of(str(bound)) or (0, 0)) for name, bound in bounds.items()]

    def test(column: Column, types: Codes, held: Numbers) -> Mask:
        seconds, nanoseconds, is_within = column.moments()
        for name, (second, nanosecond) in moments:
            strict = np.greater if name in {"gt", "gte"} else np.less
            later = strict(seconds, second)
            same = (seconds == second) & _NUMPY_COMPARISONS[name](nanoseconds, nanosecond)
            is_within = is_within & (later | same)
        mask: Mask = types == IS_TEXT
        texts = np.flatnonzero(mask)
        mask[texts] = is_within[held[texts].astype(np.int64)]
        return mask

    return test
