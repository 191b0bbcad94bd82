"""Payload fields as arrays, so that a filter is met by comparing numbers instead of parsing every payload.

A field becomes a column when a filter first names it; later writes are appended when the next filter comes. Labels of
removed items stay until the columns are read anew: an index does not hold them any more, so they do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.filters import AllOf, AnyOf, Equals, Exists, Filter, Not, OneOf, Range, Scalar
from askew_server.index.types import Labels
from askew_server.storage.filters import fields_of, filter_to_sql, json_path, refuse_misfits
from askew_server.storage.reader import GalleryReader

Mask = NDArray[np.bool_]

MOST_FIELDS = 16
MOST_TEXTS = 100_000
_LARGEST_EXACT = 2**53

_ABSENT, _NUMBER, _TEXT, _FALSE, _TRUE, _OTHER = range(6)
_CODES = {"integer": _NUMBER, "real": _NUMBER, "text": _TEXT, "false": _FALSE, "true": _TRUE}
_NAMES = {_NUMBER: "number", _TEXT: "text", _FALSE: "boolean", _TRUE: "boolean"}
_COMPARISONS: dict[str, Callable[..., Mask]] = {
    "gt": np.greater,
    "gte": np.greater_equal,
    "lt": np.less,
    "lte": np.less_equal,
}


class _Unfit(Exception):
    """A field that cannot be a column: too many different texts, or integers that float64 cannot hold."""


@dataclass
class _Column:
    """One field: what kind of value each item has, int8 [n], and its number, or its text's code, float64 [n].

    `seen`: the kinds that occur.
    """

    kinds: NDArray[np.int8]
    values: NDArray[np.float64]
    codes: dict[str, int]
    seen: frozenset[int]

    @classmethod
    def empty(cls, count: int) -> Self:
        """A column of items that lack the field."""
        return cls(np.zeros(count, dtype=np.int8), np.zeros(count), {}, frozenset())


class Columns:
    """The columns of one gallery; used by the thread of its reader."""

    def __init__(self, reader: GalleryReader) -> None:
        self._reader = reader
        self._labels: Labels = np.empty(0, dtype=np.int64)
        self._columns: dict[str, _Column] = {}
        self._unfit: set[str] = set()

    def allowed(self, condition: Filter, depth: int = 1) -> Labels:
        """The labels of the items that meet a condition, rising. `depth`: the level that it stands for.

        Raises Refusal (validation) past 8 levels, and for a value of a type that its field never has here.
        """
        sql, parameters = filter_to_sql(condition, depth)
        fields = fields_of(condition)
        if len(fields) <= MOST_FIELDS and not self._unfit.intersection(fields):
            try:
                self._catch_up(fields)
                refuse_misfits(condition, self._kinds_seen)
                return self._labels[self._mask(condition)]
            except _Unfit as unfit:
                self._unfit.add(str(unfit))
                self._columns.pop(str(unfit), None)
        return self._reader.labels_where(sql, parameters)

    def _catch_up(self, fields: list[str]) -> None:
        if len(self._labels) > 2 * self._reader.counts()[0] + MOST_TEXTS:
            # Most of these items are gone.
            self._labels, self._columns = np.empty(0, dtype=np.int64), {}
        for name in [name for name in self._columns if name not in fields][: max(0, len(self._columns) - MOST_FIELDS)]:
            del self._columns[name]
        last = int(self._labels[-1]) if len(self._labels) else 0
        known = list(self._columns)
        rows = self._reader.fields_after(last, [json_path(name) for name in known])
        if rows:
            labels, *listed = zip(*rows, strict=True)
            # All of them, or none: columns are as long as the labels.
            extended = {
                name: _extended(name, self._columns[name], listed[2 * position], listed[2 * position + 1])
                for position, name in enumerate(known)
            }
            self._labels = np.concatenate([self._labels, np.array(labels, dtype=np.int64)])
            self._columns = extended
        for name in fields:
            if name not in self._columns:
                self._begin(name)
        # The most recently used come last.
        for name in fields:
            self._columns[name] = self._columns.pop(name)

    def _begin(self, name: str) -> None:
        last = int(self._labels[-1]) if len(self._labels) else 0
        # What came after the labels were read waits for the next filter.
        rows = [row for row in self._reader.fields_after(0, [json_path(name)]) if row[0] <= last]
        fresh = _extended(name, _Column.empty(0), [row[1] for row in rows], [row[2] for row in rows])
        column = _Column.empty(len(self._labels))
        places = np.searchsorted(self._labels, np.array([row[0] for row in rows], dtype=np.int64))
        column.kinds[places], column.values[places] = fresh.kinds, fresh.values
        column.codes, column.seen = fresh.codes, fresh.seen
        self._columns[name] = column

    def _kinds_seen(self, name: str) -> set[str]:
        return {_NAMES[kind] for kind in self._columns[name].seen if kind in _NAMES}

    def _mask(self, condition: Filter) -> Mask:
        mask: Mask
        match condition:
            case Equals(field=name, eq=value):
                return self._equal(self._columns[name], value)
            case OneOf(field=name, one_of=values):
                return self._one_of(self._columns[name], values)
            case Range(field=name, range=bounds):
                column = self._columns[name]
                mask = column.kinds == _NUMBER
                for bound, limit in bounds.items():
                    mask &= _COMPARISONS[bound](column.values, limit)
                return mask
            case Exists(field=name, exists=exists):
                mask = (self._columns[name].kinds != _ABSENT) == exists
                return mask
            case AllOf(all_of=parts):
                mask = np.logical_and.reduce([self._mask(part) for part in parts])
                return mask
            case AnyOf(any_of=parts):
                mask = np.logical_or.reduce([self._mask(part) for part in parts])
                return mask
            case Not(negated=negated):
                mask = ~self._mask(negated)
                return mask

    def _equal(self, column: _Column, value: Scalar) -> Mask:
        if isinstance(value, bool):
            mask: Mask = column.kinds == (_TRUE if value else _FALSE)
        elif isinstance(value, str):
            mask = (column.kinds == _TEXT) & (column.values == column.codes.get(value, -1))
        else:
            mask = (column.kinds == _NUMBER) & (column.values == value)
        return mask

    def _one_of(self, column: _Column, values: list[Scalar]) -> Mask:
        texts = [column.codes[value] for value in values if isinstance(value, str) and value in column.codes]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        mask: Mask = (column.kinds == _TEXT) & np.isin(column.values, texts)
        mask |= (column.kinds == _NUMBER) & np.isin(column.values, numbers)
        for value in values:
            if isinstance(value, bool):
                mask |= self._equal(column, value)
        return mask


def _extended(name: str, column: _Column, kinds: Iterable[object], values: Iterable[object]) -> _Column:
    """A column with more rows, given as SQLite's JSON types and values."""
    codes = column.codes
    new_kinds, new_values = [], []
    for kind, value in zip(kinds, values, strict=True):
        code = _ABSENT if kind is None else _CODES.get(str(kind), _OTHER)
        number = 0.0
        if code == _TEXT:
            number = codes.setdefault(str(value), len(codes))
        elif code == _NUMBER:
            assert isinstance(value, int | float)
            if isinstance(value, int) and abs(value) > _LARGEST_EXACT:
                raise _Unfit(name)
            number = value
        new_kinds.append(code)
        new_values.append(number)
    if len(codes) > MOST_TEXTS:
        raise _Unfit(name)
    return _Column(
        np.concatenate([column.kinds, np.array(new_kinds, dtype=np.int8)]),
        np.concatenate([column.values, np.array(new_values, dtype=np.float64)]),
        codes,
        column.seen.union(new_kinds),
    )
