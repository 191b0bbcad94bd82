"""Payload fields as arrays, so that a filter compares numbers instead of parsing every payload.

A field becomes a column when a filter first names it; items written later are appended when the next filter comes.
Labels of deleted items stay until the columns are read again. They do no harm, because no index holds them any more.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from askew_client.contract.filters.conditions import AllOf, AnyOf, Equals, Exists, Filter, Not, OneOf, Range
from askew_client.contract.filters.field_paths import keys_of
from askew_server.index.types import Labels
from askew_server.storage.filtering.column_tests import among, dates_within, numbers_within
from askew_server.storage.filtering.payload_column import Column, Growth, Mask
from askew_server.storage.filtering.predicates import FieldTypes, compares_dates, payloads_in_parts, value_at
from askew_server.storage.reader import GalleryReader

MAX_FIELDS = 16
MAX_CODES = 800_000
"""Different texts and large integers of one column."""
MAX_CODES_IN_ALL = 1_600_000
"""Of all columns together; the least recently used are forgotten first."""
_MANY_DELETED = 100_000


class PayloadColumns:
    """The columns of one gallery. Used by the thread of its reader."""

    def __init__(self, reader: GalleryReader) -> None:
        self._reader = reader
        self._sequence = -1
        self._labels: Labels = np.empty(0, dtype=np.int64)
        self._columns: dict[str, Column] = {}
        self._unfit: set[str] = set()

    @property
    def through(self) -> int:
        """The label of the last item in the columns; 0 if there is none."""
        return int(self._labels[-1]) if len(self._labels) else 0

    def catch_up(self, fields: list[str]) -> bool:
        """Read what was written since the last filter into the columns; False if not all of these fields can be columns."""
        if len(fields) > MAX_FIELDS or self._unfit.intersection(fields):
            return False
        self._take_changes(fields)
        if self._unfit.intersection(fields):
            return False
        missing = [name for name in fields if name not in self._columns]
        if missing:
            self._forget_unused(fields)
            self._add_columns(missing)
        if sum(len(column.codes) for column in self._columns.values()) > MAX_CODES_IN_ALL:
            self._forget_largest(fields)
        if self._unfit.intersection(fields):
            return False
        for name in fields:
            # The most recently used come last.
            column = self._columns[name] = self._columns.pop(name)
            if column.checked != self._sequence:
                column.forget_types_of_deleted(self._labels, self._reader.existing)
                column.checked = self._sequence
        return True

    def types_of(self, name: str) -> FieldTypes:
        """What a field holds, whose column is up to date."""
        return self._columns[name].types_held

    def labels(self, condition: Filter) -> Labels:
        """The labels of the items that meet a condition, ascending. The columns of its fields are up to date."""
        return self._labels[self._mask(condition)]

    def _take_changes(self, fields: list[str]) -> None:
        # Read first: what is written after it is found by the next filter, if not by this one.
        sequence = self._reader.sequence
        if sequence == self._sequence:
            return
        # Begin again once most of the labels belong to deleted items.
        if len(self._labels) > 2 * self._reader.counts()[0] + _MANY_DELETED:
            self._labels, self._columns, self._unfit = np.empty(0, dtype=np.int64), {}, set()
        if not self._columns:
            # There is nothing to keep up: the labels are read together with the first columns.
            self._labels = np.empty(0, dtype=np.int64)
            self._columns = {name: Column() for name in fields if name not in self._unfit}
        self._append(self._reader.payloads_after(self.through))
        self._sequence = sequence

    def _append(self, rows: Iterable[tuple[int, str]]) -> None:
        """Append later rows to all columns, or, if the read fails, to none: they are as long as the labels."""
        labels, growths = _read(rows, {name: column.codes for name, column in self._columns.items()})
        if not labels:
            return
        self._labels = np.concatenate([self._labels, np.array(labels, dtype=np.int64)])
        for name, growth in growths.items():
            self._keep(name, self._columns.pop(name), growth)

    def _add_columns(self, names: list[str]) -> None:
        # Items written since the labels were read are left to the next filter.
        labels, growths = _read(self._reader.payloads_after(0, self.through), {name: {} for name in names})
        # Items that were deleted since then have no value.
        places = np.searchsorted(self._labels, np.array(labels, dtype=np.int64))
        for name, growth in growths.items():
            self._keep(name, Column(), growth.spread(places, len(self._labels)))

    def _keep(self, name: str, column: Column, growth: Growth) -> None:
        if growth.is_unfit:
            self._unfit.add(name)
            return
        column.grow(growth, self._labels)
        self._columns[name] = column

    def _forget_unused(self, fields: list[str]) -> None:
        excess = max(0, len(self._columns) - MAX_FIELDS)
        for name in [name for name in self._columns if name not in fields][:excess]:
            del self._columns[name]

    def _forget_largest(self, fields: list[str]) -> None:
        """Forget columns until the others fit: those that are not wanted now, then the largest, for good."""
        for name in [
            *(each for each in self._columns if each not in fields),
            *sorted(fields, key=self._size, reverse=True),
        ]:
            if sum(map(self._size, self._columns)) <= MAX_CODES_IN_ALL:
                return
            if name in fields:
                self._unfit.add(name)
            self._columns.pop(name, None)

    def _size(self, name: str) -> int:
        return len(self._columns[name].codes) if name in self._columns else 0

    def _mask(self, condition: Filter) -> Mask:
        mask: Mask
        match condition:
            case Equals(field=name, eq=value):
                return self._columns[name].holding(among([value]))
            case OneOf(field=name, one_of=values):
                return self._columns[name].holding(among(values))
            case Range(field=name, range=bounds):
                test = dates_within(bounds) if compares_dates(bounds) else numbers_within(bounds)
                return self._columns[name].holding(test)
            case Exists(field=name, exists=exists):
                mask = self._columns[name].present == exists
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


def _read(
    rows: Iterable[tuple[int, str]], codes: dict[str, dict[str | float, int]]
) -> tuple[list[int], dict[str, Growth]]:
    """Labels and the values of fields, whose codes are given and extended."""
    growths = {name: Growth(known, MAX_CODES) for name, known in codes.items()}
    labels: list[int] = []
    for part, payloads in payloads_in_parts(rows):
        labels += part
        for name, growth in growths.items():
            keys = keys_of(name)
            growth.add([value_at(payload, keys) for payload in payloads])
    return labels, growths
