"""What a filter means: conditions as predicates of payloads that Python's json has read.

This is the reference. Columns (payload_columns.py) give the same answers faster, and tests compare both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from json import JSONDecoder
from operator import ge, gt, le, lt
from typing import Any, Final

import numpy as np

from askew_client.contract.filters.conditions import (
    AllOf,
    AnyOf,
    Bound,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Range,
    Scalar,
)
from askew_client.contract.filters.field_paths import keys_of
from askew_client.contract.filters.instants import instant_of
from askew_server.index.types import Labels
from askew_server.storage.errors import DamagedDatabase

Predicate = Callable[[Any], bool]

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


class Absent:
    """The type of ABSENT."""


ABSENT: Final = Absent()
"""Stands for the value of a field that a payload lacks; null is a value."""

TYPE_NAMES: Mapping[type, str] = {int: "number", float: "number", str: "text", bool: "boolean"}
"""The types that can be compared, as Python's json makes them. There are no subclasses, so that bool is not int."""

_ROWS_AT_ONCE = 1_024

_decoder = JSONDecoder()


def read_payload(text: str) -> Any:
    """A payload from its JSON text, integers exact. Raises DamagedDatabase."""
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise DamagedDatabase(f"a payload is not JSON: {error}") from None


def read_payloads(texts: Sequence[str]) -> list[Any]:
    """Payloads as `read_payload` reads them. Raises DamagedDatabase."""
    # The same reader without its search for space around the document, which takes a third of the time.
    read: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]
    try:
        found = [read(text, 0) for text in texts]
    except (ValueError, RecursionError, StopIteration):
        return [read_payload(text) for text in texts]
    return [
        payload if end == len(text) else read_payload(text) for text, (payload, end) in zip(texts, found, strict=True)
    ]


def value_at(payload: Any, keys: Iterable[str]) -> Any:
    """The value at a path of keys, which leads through objects only; ABSENT if there is none."""
    value = payload
    for key in keys:
        if type(value) is not dict or key not in value:
            return ABSENT
        value = value[key]
    return value


def fields_of(condition: Filter) -> list[str]:
    """The fields that a condition names, each once."""
    return list(dict.fromkeys(leaf.field for leaf in leaves_of(condition)))


def leaves_of(condition: Filter) -> list[Equals | OneOf | Range | Exists]:
    """The conditions on fields that a condition consists of."""
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            return [leaf for part in parts for leaf in leaves_of(part)]
        case Not(negated=negated):
            return leaves_of(negated)
        case Equals() | OneOf() | Range() | Exists():
            return [condition]


def predicate_of(condition: Filter) -> Predicate:
    """Whether a parsed payload meets a condition."""
    match condition:
        case Equals(field=field, eq=value):
            return _of_values(field, _among([value]))
        case OneOf(field=field, one_of=values):
            return _of_values(field, _among(values))
        case Range(field=field, range=bounds):
            return _of_values(field, _within(bounds))
        case Exists(field=field, exists=exists):
            keys = keys_of(field)
            return lambda payload: (value_at(payload, keys) is not ABSENT) == exists
        case AllOf(all_of=parts):
            holding = [predicate_of(part) for part in parts]
            return lambda payload: all(holds(payload) for holds in holding)
        case AnyOf(any_of=parts):
            holding = [predicate_of(part) for part in parts]
            return lambda payload: any(holds(payload) for holds in holding)
        case Not(negated=negated):
            negated_holds = predicate_of(negated)
            return lambda payload: not negated_holds(payload)


def _of_values(field: str, holds: Predicate) -> Predicate:
    """Whether the value of a field, or an element of the list in it, meets a test."""
    keys = keys_of(field)

    def value_holds(payload: Any) -> bool:
        value = value_at(payload, keys)
        if type(value) is list:
            return any(holds(element) for element in value)
        return holds(value)

    return value_holds


def _among(values: Iterable[Scalar]) -> Predicate:
    # Sets by type: for Python, True is 1. Integers and floats are compared exactly.
    listed: dict[str, set[Scalar]] = {}
    for value in values:
        listed.setdefault(TYPE_NAMES[type(value)], set()).add(value)
    by_type = {kind: listed[name] for kind, name in TYPE_NAMES.items() if name in listed}

    def holds(value: Any) -> bool:
        kind = type(value)
        return kind in by_type and value in by_type[kind]

    return holds


def _within(bounds: Mapping[Any, Bound]) -> Predicate:
    comparisons = [(COMPARISONS[name], bound) for name, bound in bounds.items()]
    if not compares_dates(bounds):
        return lambda value: (
            (type(value) is int or type(value) is float) and all(holds(value, bound) for holds, bound in comparisons)
        )
    moments = [(holds, instant_of(str(bound))) for holds, bound in comparisons]

    def is_within(value: Any) -> bool:
        moment = instant_of(value) if type(value) is str else None
        return moment is not None and all(holds(moment, bound) for holds, bound in moments)

    return is_within


def compares_dates(bounds: Mapping[Any, Bound]) -> bool:
    """Whether the bounds of a range are dates; otherwise they are numbers."""
    return any(isinstance(bound, str) for bound in bounds.values())


def payloads_in_parts(rows: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], list[Any]]]:
    """Labels and parsed payloads of rows of label and JSON text, some at a time. Raises DamagedDatabase."""
    walk = iter(rows)
    while part := list(islice(walk, _ROWS_AT_ONCE)):
        labels, texts = zip(*part, strict=True)
        yield list(labels), read_payloads(texts)


@dataclass(frozen=True)
class FieldTypes:
    """What the payloads of a gallery hold in one field.

    `is_known`: whether any has it. `names`: which of number, text and boolean occur, in lists too.
    """

    is_known: bool = False
    names: frozenset[str] = frozenset()

    def __or__(self, other: FieldTypes) -> FieldTypes:
        return FieldTypes(self.is_known or other.is_known, self.names | other.names)


@dataclass(frozen=True)
class Scan:
    """What a walk over payloads found: the labels of those that meet a condition, ascending, and the types of its fields.

    `through`: the highest label seen, 0 if none.
    """

    labels: Labels
    types: Mapping[str, FieldTypes]
    through: int


def scan(rows: Iterable[tuple[int, str]], condition: Filter) -> Scan:
    """Evaluate a condition on labels and payloads (JSON text), by label. Raises DamagedDatabase."""
    holds = predicate_of(condition)
    paths = {field: keys_of(field) for field in fields_of(condition)}
    kinds: dict[str, set[type]] = {field: set() for field in paths}
    labels, through = [], 0
    for part, payloads in payloads_in_parts(rows):
        through = part[-1]
        labels += [label for label, payload in zip(part, payloads, strict=True) if holds(payload)]
        for field, keys in paths.items():
            for payload in payloads:
                value = value_at(payload, keys)
                kinds[field].add(type(value))
                if type(value) is list:
                    kinds[field].update(map(type, value))
    types = {field: _field_types(seen) for field, seen in kinds.items()}
    return Scan(np.array(labels, dtype=np.int64), types, through)


def _field_types(seen: Collection[type]) -> FieldTypes:
    names = frozenset(TYPE_NAMES[kind] for kind in seen if kind in TYPE_NAMES)
    return FieldTypes(any(kind is not Absent for kind in seen), names)
