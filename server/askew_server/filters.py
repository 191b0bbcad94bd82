"""A condition on payloads as an SQL expression over the JSON in `items.payload`."""

from __future__ import annotations

from askew_client.contract.filters import (
    MAX_DEPTH,
    AllOf,
    AnyOf,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Range,
    Scalar,
)
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NUMBER = "json_type(payload, ?) IN ('integer', 'real')"


def filter_to_sql(condition: Filter, depth: int = 1) -> tuple[str, list[object]]:
    """The SQL expression and its parameters; it is true or false, never null. Raises Refusal past 8 levels."""
    if depth > MAX_DEPTH:
        raise Refusal(ProblemKind.VALIDATION, f"Expected a filter of at most {MAX_DEPTH} levels, got a deeper one.")
    match condition:
        case Equals(field=field, eq=value):
            return _equals(_path(field), value)
        case OneOf(field=field, one_of=values):
            return _joined([_equals(_path(field), value) for value in values], "OR")
        case Range(field=field, range=bounds):
            path = _path(field)
            parts: list[tuple[str, list[object]]] = [
                (f"json_extract(payload, ?) {_COMPARISONS[b]} ?", [path, limit]) for b, limit in bounds.items()
            ]
            is_number: tuple[str, list[object]] = (_NUMBER, [path])
            return _joined([is_number, *parts], "AND")
        case Exists(field=field, exists=exists):
            return f"json_type(payload, ?) IS {'NOT ' if exists else ''}NULL", [_path(field)]
        case AllOf(all_of=parts_of_all):
            return _joined([filter_to_sql(part, depth + 1) for part in parts_of_all], "AND")
        case AnyOf(any_of=parts_of_any):
            return _joined([filter_to_sql(part, depth + 1) for part in parts_of_any], "OR")
        case Not(negated=negated):
            sql, parameters = filter_to_sql(negated, depth + 1)
            return f"NOT ({sql})", parameters


def _equals(path: str, value: Scalar) -> tuple[str, list[object]]:
    if isinstance(value, bool):
        return "COALESCE(json_type(payload, ?) = ?, 0)", [path, "true" if value else "false"]
    if isinstance(value, str):
        return "COALESCE(json_type(payload, ?) = 'text' AND json_extract(payload, ?) = ?, 0)", [
            path,
            path,
            value,
        ]
    return f"COALESCE({_NUMBER} AND json_extract(payload, ?) = ?, 0)", [path, path, value]


def _joined(parts: list[tuple[str, list[object]]], operator: str) -> tuple[str, list[object]]:
    sql = f" {operator} ".join(f"COALESCE({part}, 0)" for part, _ in parts)
    return f"({sql})", [parameter for _, parameters in parts for parameter in parameters]


def _path(field: str) -> str:
    return "$" + "".join(f'."{key}"' for key in field.split("."))
