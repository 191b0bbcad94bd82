"""Conditions on payloads: `{"field": "kind", "eq": "landmark"}`, combined by `and`, `or` and `not`.

A field is a key of the payload, or a path of keys joined by dots. An item whose payload lacks the field does not meet
`eq`, `in` or `range`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

MAX_DEPTH = 8
MAX_VALUES = 20_000
# A level is an object, usually with a list in it; the lowest level holds the values of a field.
_MAX_NESTED = 2 * MAX_DEPTH + 2

Number = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(allow_inf_nan=False)]
"""A number that a database can compare. Larger integers become floats."""
Scalar = bool | Number | str
FieldPath = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\".\[\]]+(\.[^\x00-\x1f\".\[\]]+){0,7}$", max_length=256)
]


class _Condition(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class Equals(_Condition):
    """The field has this value; types are not converted."""

    field: FieldPath
    eq: Scalar


class OneOf(_Condition):
    """The field has one of these values."""

    field: FieldPath
    one_of: list[Scalar] = Field(alias="in", min_length=1, max_length=1_000, fail_fast=True)


class Range(_Condition):
    """The field is a number within the bounds: at least one of gt, gte, lt, lte."""

    field: FieldPath
    range: dict[Literal["gt", "gte", "lt", "lte"], Number] = Field(min_length=1)


class Exists(_Condition):
    """The payload has the field (true), or lacks it (false)."""

    field: FieldPath
    exists: bool


class AllOf(_Condition):
    """Every one of these conditions holds."""

    all_of: list[_Nested] = Field(alias="and", min_length=1, max_length=32, fail_fast=True)


class AnyOf(_Condition):
    """At least one of these conditions holds."""

    any_of: list[_Nested] = Field(alias="or", min_length=1, max_length=32, fail_fast=True)


class Not(_Condition):
    """This condition does not hold."""

    negated: _Nested = Field(alias="not")


def _kind(value: Any) -> str | None:
    """The kind of a condition, by the key that only this kind has; None if there is no such key, or several."""
    if isinstance(value, _Condition):
        return type(value).__name__
    keys = {
        "eq": "Equals",
        "in": "OneOf",
        "range": "Range",
        "exists": "Exists",
        "and": "AllOf",
        "or": "AnyOf",
        "not": "Not",
    }
    found = [kind for key, kind in keys.items() if isinstance(value, dict) and key in value]
    return found[0] if len(found) == 1 else None


def _within_bounds(value: Any) -> Any:
    """Refuse a condition that is too deep or too large, before its levels are validated one by one."""
    level, values = [value], 0
    for _ in range(_MAX_NESTED):
        below = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        values += len(below)
        if values > MAX_VALUES:
            raise ValueError(f"expected a filter of at most {MAX_VALUES} values and conditions, got more")
        if not below:
            return value
        level = below
    raise ValueError(f"expected a filter of at most {MAX_DEPTH} nested levels, got more")


_Nested = Annotated[
    Annotated[Equals, Tag("Equals")]
    | Annotated[OneOf, Tag("OneOf")]
    | Annotated[Range, Tag("Range")]
    | Annotated[Exists, Tag("Exists")]
    | Annotated[AllOf, Tag("AllOf")]
    | Annotated[AnyOf, Tag("AnyOf")]
    | Annotated[Not, Tag("Not")],
    Discriminator(
        _kind,
        custom_error_type="filter",
        custom_error_message="expected exactly one of eq, in, range, exists (with a field), and, or, not",
    ),
]
Filter = Annotated[_Nested, BeforeValidator(_within_bounds)]

for _model in (AllOf, AnyOf, Not):
    _model.model_rebuild()
