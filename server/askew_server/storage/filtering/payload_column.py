"""One payload field of all items, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.filters.instants import instant_of
from askew_server.index.types import Labels
from askew_server.storage.filtering.predicates import Absent, FieldTypes

Mask = NDArray[np.bool_]
Codes = NDArray[np.int8]
Numbers = NDArray[np.float64]
Positions = NDArray[np.int64]

IS_ABSENT, IS_NUMBER, IS_LARGE, IS_TEXT, IS_FALSE, IS_TRUE, IS_OTHER = range(7)
"""Type codes. Large are the integers that float64 may not hold. Null, objects and lists are others; the elements of a
list are kept besides."""

_CODE_BY_TYPE: dict[type, int] = {Absent: IS_ABSENT, int: IS_NUMBER, float: IS_NUMBER, str: IS_TEXT}
_NAMES = {IS_NUMBER: "number", IS_LARGE: "number", IS_TEXT: "text", IS_FALSE: "boolean", IS_TRUE: "boolean"}
_LARGEST_CERTAINLY_EXACT = 2**53
_LOOKED_UP_AT_ONCE = 500

MAX_ELEMENTS_AN_ITEM = 64
"""A column whose lists hold more elements than this for each item, on average, takes too much memory."""
_FEW_ELEMENTS = 1_000_000


class Growth:
    """Values of one field in rows that were read, until they are appended to the column.

    `is_unfit`: the field cannot be a column. It has too many different texts and large integers, or elements of lists.
    """

    def __init__(self, codes: dict[str | float, int], max_codes: int) -> None:
        """`codes`: the number of each text and large integer; it is extended."""
        self.is_unfit = False
        self.types: list[int] | Codes = []
        self.values: list[float] | Numbers = []
        self.owners: list[int] | Positions = []
        self.element_types: list[int] = []
        self.element_values: list[float] = []
        self.codes = codes
        self._max_codes = max_codes

    def add(self, values: Sequence[Any]) -> None:
        """Add the values of the next rows."""
        if self.is_unfit:
            return
        assert isinstance(self.types, list)
        assert isinstance(self.values, list)
        kinds = set(map(type, values))
        if list in kinds:
            for row, value in enumerate(values, len(self.types)):
                if type(value) is list:
                    self._add_elements(row, value)
        # Rows of one type are as usual as they are quick.
        if kinds == {str}:
            codes = self.codes
            self.types += [IS_TEXT] * len(values)
            self.values += [codes.setdefault(value, len(codes)) for value in values]
        elif kinds == {float}:
            self.types += [IS_NUMBER] * len(values)
            self.values += values
        else:
            for kind, number in map(self._coded, values):
                self.types.append(kind)
                self.values.append(number)
        if len(self.codes) > self._max_codes:
            self.is_unfit = True

    def _add_elements(self, row: int, elements: list[Any]) -> None:
        assert isinstance(self.owners, list)
        for element in elements:
            kind, number = self._coded(element)
            self.owners.append(row)
            self.element_types.append(kind)
            self.element_values.append(number)
        if len(self.owners) > _FEW_ELEMENTS + MAX_ELEMENTS_AN_ITEM * row:
            self.is_unfit = True

    def _coded(self, value: Any) -> tuple[int, float]:
        """The type code of a value, and the number itself or its code."""
        kind = _CODE_BY_TYPE.get(type(value), IS_OTHER)
        if kind == IS_TEXT:
            return IS_TEXT, self.codes.setdefault(value, len(self.codes))
        if kind == IS_NUMBER:
            if type(value) is int and not -_LARGEST_CERTAINLY_EXACT <= value <= _LARGEST_CERTAINLY_EXACT:
                return IS_LARGE, self.codes.setdefault(value, len(self.codes))
            return IS_NUMBER, value
        if type(value) is bool:
            return (IS_TRUE if value else IS_FALSE), 0.0
        return kind, 0.0

    def spread(self, places: Positions, count: int) -> Growth:
        """The same rows at these places among `count` rows; the others lack the field."""
        if not self.is_unfit:
            types, values = np.zeros(count, dtype=np.int8), np.zeros(count)
            types[places], values[places] = self.types, self.values
            self.owners = places[np.array(self.owners, dtype=np.int64)]
            self.types, self.values = types, values
        return self


class Column:
    """One field: the type code of each item's value, int8 [n], and the number itself or its code, float64 [n].

    The elements of lists follow one another, float64 [m] with their type codes int8 [m] and the positions of the items
    that own them, int64 [m]. `codes`: the number of each text and large integer. `checked`: the sequence number as of which the types are
    those of items that exist.
    """

    def __init__(self) -> None:
        self.types: Codes = np.empty(0, dtype=np.int8)
        self.values: Numbers = np.empty(0)
        self.owners: Positions = np.empty(0, dtype=np.int64)
        self.element_types: Codes = np.empty(0, dtype=np.int8)
        self.element_values: Numbers = np.empty(0)
        self.codes: dict[str | float, int] = {}
        self.has_large = False
        self.checked = -1
        # For each type code, the last label that has it and still exists.
        self._witnesses: dict[int, int] = {}
        self._seconds: Positions = np.empty(0, dtype=np.int64)
        self._nanoseconds: Positions = np.empty(0, dtype=np.int64)
        self._is_moment: Mask = np.empty(0, dtype=np.bool_)
        self._held: FieldTypes | None = None

    def grow(self, growth: Growth, labels: Labels) -> None:
        """Append rows. `labels`: those of all items, the appended ones included."""
        owners = np.array(growth.owners, dtype=np.int64) + len(self.types)
        element_types = np.array(growth.element_types, dtype=np.int8)
        self.codes = growth.codes
        types = np.array(growth.types, dtype=np.int8)
        offset = len(self.types)
        for kind in (IS_NUMBER, IS_LARGE, IS_TEXT, IS_FALSE, IS_TRUE, IS_OTHER):
            places = [np.flatnonzero(types == kind)[-1:] + offset, owners[element_types == kind][-1:]]
            last = np.concatenate(places)
            if len(last):
                self._witnesses[kind] = int(labels[last.max()])
                self.has_large |= kind == IS_LARGE
        self.types = np.concatenate([self.types, types])
        self.values = np.concatenate([self.values, np.array(growth.values, dtype=np.float64)])
        self.owners = np.concatenate([self.owners, owners])
        self.element_types = np.concatenate([self.element_types, element_types])
        self.element_values = np.concatenate([self.element_values, np.array(growth.element_values, dtype=np.float64)])
        self._held = None

    @property
    def present(self) -> Mask:
        """Which items have the field."""
        mask: Mask = self.types != IS_ABSENT
        return mask

    def holding(self, test: Callable[[Column, Codes, Numbers], Mask]) -> Mask:
        """Which items have a value, or an element in their list, that meets a test."""
        mask = test(self, self.types, self.values)
        if len(self.owners):
            mask[self.owners[test(self, self.element_types, self.element_values)]] = True
        return mask

    @property
    def types_held(self) -> FieldTypes:
        """What the items hold in this field."""
        if self._held is None:
            names = frozenset(_NAMES[kind] for kind in self._witnesses if kind in _NAMES)
            self._held = FieldTypes(bool(self._witnesses), names)
        return self._held

    def forget_types_of_deleted(self, labels: Labels, existing: Callable[[Sequence[int]], set[int]]) -> None:
        """Forget the types that only deleted items have. `existing`: those of some labels that items have."""
        if not self._witnesses:
            return
        alive = existing(list(set(self._witnesses.values())))
        for kind, label in list(self._witnesses.items()):
            if label in alive:
                continue
            self._held = None
            successor = self._last_with(kind, label, labels, existing)
            if successor is None:
                del self._witnesses[kind]
            else:
                self._witnesses[kind] = successor

    def _last_with(
        self, kind: int, before: int, labels: Labels, existing: Callable[[Sequence[int]], set[int]]
    ) -> int | None:
        """The last label before one that has a value of a type code and exists."""
        places = np.union1d(np.flatnonzero(self.types == kind), self.owners[self.element_types == kind])
        candidates = labels[places]
        end = int(np.searchsorted(candidates, before))
        while end:
            start = max(0, end - _LOOKED_UP_AT_ONCE)
            if alive := existing(candidates[start:end].tolist()):
                return max(alive)
            end = start
        return None

    def moments(self) -> tuple[Positions, Positions, Mask]:
        """For each code: seconds and nanoseconds of its text as an Instant, int64 [t], and whether it is one."""
        known = len(self._seconds)
        if known < len(self.codes):
            fresh = [instant_of(text) if isinstance(text, str) else None for text in list(self.codes)[known:]]
            pairs = np.array([moment or (0, 0) for moment in fresh], dtype=np.int64).reshape(-1, 2)
            self._seconds = np.concatenate([self._seconds, pairs[:, 0]])
            self._nanoseconds = np.concatenate([self._nanoseconds, pairs[:, 1]])
            self._is_moment = np.concatenate([self._is_moment, [moment is not None for moment in fresh]])
        return self._seconds, self._nanoseconds, self._is_moment
