"""Payload fields as arrays, so that a filter compares numbers instead of parsing every payload.

A field becomes a column when a filter first names it; items written later are appended when the next filter comes.
Labels of deleted items stay until the columns are read again. They do no harm, because no index holds them any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.filters import AllOf, AnyOf, Equals, Exists, Filter, Not, OneOf, Range, Scalar
from askew_server.index.types import Labels
from askew_server.storage.filter_sql import json_path
from askew_server.storage.reader import GalleryReader

Mask = NDArray[np.bool_]

MAX_FIELDS = 16
MAX_TEXTS = 100_000
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


class _UnfitField(Exception):
    """A field that cannot be a column: too many different texts, or integers that float64 cannot hold."""


@dataclass
class _Column:
    """One field: the type code of each item's value, int8 [n], and the number itself or the text's code, float64 [n].

    `seen`: the type codes that occur.
    """

    types: NDArray[np.int8]
    values: NDArray[np.float64]
    codes: dict[str, int]
    seen: frozenset[int]

    @classmethod
    def empty(cls, count: int) -> Self:
        """A column of items that lack the field."""
        return cls(np.zeros(count, dtype=np.int8), np.zeros(count), {}, frozenset())


class PayloadColumns:
    """The columns of one gallery. Used by the thread of its reader."""

    def __init__(self, reader: GalleryReader) -> None:
        self._reader = reader
        self._labels: Labels = np.empty(0, dtype=np.int64)
        self._columns: dict[str, _Column] = {}
        self._unfit: set[str] = set()

    def catch_up(self, fields: list[str]) -> bool:
        """Read what was written since the last filter into the columns of these fields; False if not all can be columns."""
        if len(fields) > MAX_FIELDS or self._unfit.intersection(fields):
            return False
        try:
            self._forget_deleted()
            self._forget_unused(fields)
            self._append_new_items()
            for name in fields:
                if name not in self._columns:
                    self._add_column(name)
        except _UnfitField as unfit:
            self._unfit.add(str(unfit))
            self._columns.pop(str(unfit), None)
            return False
        # The most recently used come last.
        for name in fields:
            self._columns[name] = self._columns.pop(name)
        return True

    def types_of(self, name: str) -> set[str]:
        """Which of number, text and boolean occur in a field, whose column is up to date."""
        return {_NAMES[code] for code in self._columns[name].seen if code in _NAMES}

    def labels(self, condition: Filter) -> Labels:
        """The labels of the items that meet a condition, ascending. The columns of its fields are up to date."""
        return self._labels[self._mask(condition)]

    def _forget_deleted(self) -> None:
        """Begin again once most of the labels belong to deleted items."""
        if len(self._labels) > 2 * self._reader.counts()[0] + MAX_TEXTS:
            self._labels, self._columns = np.empty(0, dtype=np.int64), {}

    def _forget_unused(self, fields: list[str]) -> None:
        excess = max(0, len(self._columns) - MAX_FIELDS)
        for name in [name for name in self._columns if name not in fields][:excess]:
            del self._columns[name]

    def _append_new_items(self) -> None:
        names = list(self._columns)
        rows = self._reader.fields_after(self._last_label, [json_path(name) for name in names])
        if not rows:
            return
        labels, *listed = zip(*rows, strict=True)
        # All columns are extended, or none: they are as long as the labels.
        extended = {
            name: _extended(name, self._columns[name], listed[2 * position], listed[2 * position + 1])
            for position, name in enumerate(names)
        }
        self._labels = np.concatenate([self._labels, np.array(labels, dtype=np.int64)])
        self._columns = extended

    def _add_column(self, name: str) -> None:
        last = self._last_label
        # Items written since the labels were read are left to the next filter.
        rows = [row for row in self._reader.fields_after(0, [json_path(name)]) if row[0] <= last]
        fresh = _extended(name, _Column.empty(0), [row[1] for row in rows], [row[2] for row in rows])
        column = _Column.empty(len(self._labels))
        places = np.searchsorted(self._labels, np.array([row[0] for row in rows], dtype=np.int64))
        column.types[places], column.values[places] = fresh.types, fresh.values
        column.codes, column.seen = fresh.codes, fresh.seen
        self._columns[name] = column

    @property
    def _last_label(self) -> int:
        return int(self._labels[-1]) if len(self._labels) else 0

    def _mask(self, condition: Filter) -> Mask:
        mask: Mask
        match condition:
            case Equals(field=name, eq=value):
                return self._equal(self._columns[name], value)
            case OneOf(field=name, one_of=values):
                return self._one_of(self._columns[name], values)
            case Range(field=name, range=bounds):
                column = self._columns[name]
                mask = column.types == _NUMBER
                for bound, limit in bounds.items():
                    mask &= _COMPARISONS[bound](column.values, limit)
                return mask
            case Exists(field=name, exists=exists):
                mask = (self._columns[name].types != _ABSENT) == exists
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
            mask: Mask = column.types == (_TRUE if value else _FALSE)
        elif isinstance(value, str):
            mask = (column.types == _TEXT) & (column.values == column.codes.get(value, -1))
        else:
            mask = (column.types == _NUMBER) & (column.values == value)
        return mask

    def _one_of(self, column: _Column, values: list[Scalar]) -> Mask:
        texts = [column.codes[value] for value in values if isinstance(value, str) and value in column.codes]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        mask: Mask = (column.types == _TEXT) & np.isin(column.values, texts)
        mask |= (column.types == _NUMBER) & np.isin(column.values, numbers)
        for value in values:
            if isinstance(value, bool):
                mask |= self._equal(column, value)
        return mask


def _extended(name: str, column: _Column, types: Iterable[object], values: Iterable[object]) -> _Column:
    """A column with more rows, given as SQLite's JSON types and values. Raises _UnfitField."""
    codes = column.codes
    new_types, new_values = [], []
    for json_type, value in zip(types, values, strict=True):
        code = _ABSENT if json_type is None else _CODES.get(str(json_type), _OTHER)
        number = 0.0
        if code == _TEXT:
            number = codes.setdefault(str(value), len(codes))
        elif code == _NUMBER:
            assert isinstance(value, int | float)
            if isinstance(value, int) and abs(value) > _LARGEST_EXACT:
                raise _UnfitField(name)
            number = value
        new_types.append(code)
        new_values.append(number)
    if len(codes) > MAX_TEXTS:
        raise _UnfitField(name)
    return _Column(
        np.concatenate([column.types, np.array(new_types, dtype=np.int8)]),
        np.concatenate([column.values, np.array(new_values, dtype=np.float64)]),
        codes,
        column.seen.union(new_types),
    )
