"""A condition on payloads as an SQL expression over the JSON in `items.payload`."""

from __future__ import annotations

import json
from collections.abc import Callable

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
            return _equals(json_path(field), value)
        case OneOf(field=field, one_of=values):
            return _one_of(json_path(field), values)
        case Range(field=field, range=bounds):
            path = json_path(field)
            parts: list[tuple[str, list[object]]] = [
                (f"json_extract(payload, ?) {_COMPARISONS[b]} ?", [path, limit]) for b, limit in bounds.items()
            ]
            is_number: tuple[str, list[object]] = (_NUMBER, [path])
            return _joined([is_number, *parts], "AND")
        case Exists(field=field, exists=exists):
            return f"json_type(payload, ?) IS {'NOT ' if exists else ''}NULL", [json_path(field)]
        case AllOf(all_of=parts_of_all):
            return _joined([filter_to_sql(part, depth + 1) for part in parts_of_all], "AND")
        case AnyOf(any_of=parts_of_any):
            return _joined([filter_to_sql(part, depth + 1) for part in parts_of_any], "OR")
        case Not(negated=negated):
            sql, parameters = filter_to_sql(negated, depth + 1)
            return f"NOT ({sql})", parameters


def fields_of(condition: Filter) -> list[str]:
    """The fields that a condition names, each once."""
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            return list(dict.fromkeys(name for part in parts for name in fields_of(part)))
        case Not(negated=negated):
            return fields_of(negated)
        case Equals(field=name) | OneOf(field=name) | Range(field=name) | Exists(field=name):
            return [name]


def refuse_misfits(condition: Filter, kinds_of: Callable[[str], set[str]]) -> None:
    """Refuse a value of a type that its field never has; `kinds_of` says which of number, text and boolean it has.

    A field that no item has yet may get any. Raises Refusal (validation).
    """
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            for part in parts:
                refuse_misfits(part, kinds_of)
        case Not(negated=negated):
            refuse_misfits(negated, kinds_of)
        case Equals(field=name, eq=value):
            _refuse_misfit(name, _kind(value), f"eq {value!r}", kinds_of(name))
        case OneOf(field=name, one_of=values):
            for value in values:
                _refuse_misfit(name, _kind(value), f"{value!r} in its list", kinds_of(name))
        case Range(field=name):
            _refuse_misfit(name, "number", "a range, which compares numbers", kinds_of(name))


def _refuse_misfit(name: str, kind: str, given: str, seen: set[str]) -> None:
    if seen and kind not in seen:
        held = " and ".join(sorted(seen))
        raise Refusal(
            ProblemKind.VALIDATION,
            f"The filter compares field {name!r} with a {kind} ({given[:80]}), but in this gallery the field holds only "
            f"{held}. Types are not converted: send the value as {held}, or store the field as {kind}.",
            {"field": name, "expected": sorted(seen), "received": kind},
        )


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


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


def _one_of(path: str, values: list[Scalar]) -> tuple[str, list[object]]:
    # As two lists: a comparison for each value would exceed what SQLite takes in one expression.
    flags = [_equals(path, flag) for flag in (True, False) if any(value is flag for value in values)]
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if not isinstance(value, str | bool)]
    is_among = "json_extract(payload, ?) IN (SELECT value FROM json_each(?))"
    listed: list[tuple[str, list[object]]] = [
        (f"{condition} AND {is_among}", [path, path, json.dumps(members)])
        for condition, members in (("json_type(payload, ?) = 'text'", texts), (_NUMBER, numbers))
        if members
    ]
    return _joined([*flags, *listed], "OR")


def _joined(parts: list[tuple[str, list[object]]], operator: str) -> tuple[str, list[object]]:
    sql = f" {operator} ".join(f"COALESCE({part}, 0)" for part, _ in parts)
    return f"({sql})", [parameter for _, parameters in parts for parameter in parameters]


def json_path(field: str) -> str:
    """A field as SQLite names it."""
    return "$" + "".join(f'."{key}"' for key in field.split("."))
