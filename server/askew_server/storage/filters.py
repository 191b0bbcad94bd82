"""The one way to filter a gallery's items: a condition is checked first, then evaluated over columns or as SQL.

Searches need labels, and columns (payload_columns.py) give them without parsing every payload. Listing, counting and
deletion need an SQL expression (filter_sql.py). Both admit the same items.
"""

from __future__ import annotations

from collections.abc import Callable

from askew_client.contract.filters import MAX_DEPTH, AllOf, AnyOf, Equals, Exists, Filter, Not, OneOf, Range, Scalar
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.types import Labels
from askew_server.storage.filter_sql import SqlCondition, filter_to_sql
from askew_server.storage.payload_columns import PayloadColumns
from askew_server.storage.reader import GalleryReader


class PayloadFilter:
    """Filters the items of one gallery. Used by the thread of its reader.

    Every method raises Refusal (validation) for a condition of more than 8 levels, and for a value of a type that its
    field never has in this gallery. A field that no item has yet may be compared with any type.
    """

    def __init__(self, reader: GalleryReader) -> None:
        self._reader = reader
        self._columns = PayloadColumns(reader)

    def labels(self, condition: Filter, depth: int = 1) -> Labels:
        """The labels of the items that meet a condition, ascending; labels of deleted items may be among them.

        `depth`: the level that the condition counts as.
        """
        if self._check(condition, depth):
            return self._columns.labels(condition)
        return self._reader.labels_where(filter_to_sql(condition))

    def sql(self, condition: Filter) -> SqlCondition:
        """The condition as an SQL expression."""
        self._check(condition, 1)
        return filter_to_sql(condition)

    def _check(self, condition: Filter, depth: int) -> bool:
        """Check a condition; whether columns can evaluate it. Where they cannot, types are not checked."""
        _check_depth(condition, depth)
        if not self._columns.catch_up(_fields_of(condition)):
            return False
        _check_types(condition, self._columns.types_of)
        return True


def _check_depth(condition: Filter, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Refusal(
            ProblemKind.VALIDATION,
            f"Expected a filter of at most {MAX_DEPTH} levels, got a deeper one. Use fewer levels of and, or and not.",
        )
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            for part in parts:
                _check_depth(part, depth + 1)
        case Not(negated=negated):
            _check_depth(negated, depth + 1)


def _fields_of(condition: Filter) -> list[str]:
    """The fields that a condition names, each once."""
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            return list(dict.fromkeys(name for part in parts for name in _fields_of(part)))
        case Not(negated=negated):
            return _fields_of(negated)
        case Equals(field=name) | OneOf(field=name) | Range(field=name) | Exists(field=name):
            return [name]


def _check_types(condition: Filter, types_of: Callable[[str], set[str]]) -> None:
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            for part in parts:
                _check_types(part, types_of)
        case Not(negated=negated):
            _check_types(negated, types_of)
        case Equals(field=name, eq=value):
            _check_type(name, _type_of(value), f"eq {value!r}", types_of(name))
        case OneOf(field=name, one_of=values):
            for value in values:
                _check_type(name, _type_of(value), f"{value!r} in its list", types_of(name))
        case Range(field=name):
            _check_type(name, "number", "a range, which compares numbers", types_of(name))


def _check_type(name: str, given_type: str, given: str, seen: set[str]) -> None:
    if seen and given_type not in seen:
        expected = " and ".join(sorted(seen))
        raise Refusal(
            ProblemKind.VALIDATION,
            f"The filter compares field {name!r} with a {given_type} ({given[:80]}), but in this gallery the field holds "
            f"only {expected}. Types are not converted: send the value as {expected}, or store the field as {given_type}.",
            {"field": name, "expected": sorted(seen), "received": given_type},
        )


def _type_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"
