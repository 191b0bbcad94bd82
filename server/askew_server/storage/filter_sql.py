"""Filters as SQL: a condition on payloads becomes an expression over the JSON in `items.payload`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from askew_client.contract.filters import AllOf, AnyOf, Equals, Exists, Filter, Not, OneOf, Range, Scalar

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_IS_NUMBER = "json_type(payload, ?) IN ('integer', 'real')"
_IS_TEXT = "json_type(payload, ?) = 'text'"


class SqlCondition(NamedTuple):
    """An SQL expression over `items.payload`, true or false and never null, and its parameters."""

    sql: str
    parameters: Sequence[object]


EVERY_ITEM = SqlCondition("true", ())


def filter_to_sql(condition: Filter) -> SqlCondition:
    """The SQL expression of a condition. PayloadFilter.sql checks the condition first."""
    match condition:
        case Equals(field=field, eq=value):
            return _equals(json_path(field), value)
        case OneOf(field=field, one_of=values):
            return _one_of(json_path(field), values)
        case Range(field=field, range=bounds):
            path = json_path(field)
            limits = [
                SqlCondition(f"json_extract(payload, ?) {_COMPARISONS[bound]} ?", [path, limit])
                for bound, limit in bounds.items()
            ]
            return _joined([SqlCondition(_IS_NUMBER, [path]), *limits], "AND")
        case Exists(field=field, exists=exists):
            return SqlCondition(f"json_type(payload, ?) IS {'NOT ' if exists else ''}NULL", [json_path(field)])
        case AllOf(all_of=parts):
            return _joined([filter_to_sql(part) for part in parts], "AND")
        case AnyOf(any_of=parts):
            return _joined([filter_to_sql(part) for part in parts], "OR")
        case Not(negated=negated):
            sql, parameters = filter_to_sql(negated)
            return SqlCondition(f"NOT ({sql})", parameters)


def json_path(field: str) -> str:
    """The path of a field in SQLite's notation."""
    return "$" + "".join(f'."{key}"' for key in field.split("."))


def _equals(path: str, value: Scalar) -> SqlCondition:
    if isinstance(value, bool):
        return SqlCondition("COALESCE(json_type(payload, ?) = ?, 0)", [path, "true" if value else "false"])
    has_type = _IS_TEXT if isinstance(value, str) else _IS_NUMBER
    return SqlCondition(f"COALESCE({has_type} AND json_extract(payload, ?) = ?, 0)", [path, path, value])


def _one_of(path: str, values: list[Scalar]) -> SqlCondition:
    # As two lists: a comparison for each value would exceed what SQLite takes in one expression.
    flags = [_equals(path, flag) for flag in (True, False) if any(value is flag for value in values)]
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if not isinstance(value, str | bool)]
    listed = [
        SqlCondition(
            f"{has_type} AND json_extract(payload, ?) IN (SELECT value FROM json_each(?))",
            [path, path, json.dumps(members)],
        )
        for has_type, members in ((_IS_TEXT, texts), (_IS_NUMBER, numbers))
        if members
    ]
    return _joined([*flags, *listed], "OR")


def _joined(parts: list[SqlCondition], operator: str) -> SqlCondition:
    sql = f" {operator} ".join(f"COALESCE({part.sql}, 0)" for part in parts)
    return SqlCondition(f"({sql})", [parameter for part in parts for parameter in part.parameters])
