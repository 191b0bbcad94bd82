"""Conditions on payloads: `{"field": "kind", "eq": "landmark"}`, combined by `and`, `or` and `not`.

docs/api.md says what each of them means. A field is a key of the payload, or a path of keys (field_paths.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WrapValidator,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from askew_client.contract.filters.field_paths import FieldPath
from askew_client.contract.filters.instants import instant_of

MAX_DEPTH = 8
MAX_VALUES = 20_000
# A level is an object, usually with a list in it; the lowest level holds the values of a field.
_MAX_NESTED = 2 * MAX_DEPTH + 2

Number = int | Annotated[float, Field(allow_inf_nan=False)]
"""A number. Integers of any size are compared exactly."""
Scalar = bool | Number | str
Bound = Number | str
"""A bound of a range: a number, or a date or time as ISO 8601 text (instants.py)."""

_BOUNDS = ("gt", "gte", "lt", "lte")


def _or_sentence(kind: str, sentence: str) -> WrapValidator:
    """A validator that replaces the errors of every member of a union by one sentence."""

    def validate(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            shown = {"sentence": sentence, "got": _shown(value)}
            raise PydanticCustomError(kind, "{sentence}, got {got}", shown) from None

    return WrapValidator(validate)


def _shown(value: Any) -> str:
    """A value as an error shows it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)[:80]
    )


_Value = Annotated[Scalar, _or_sentence("filter_value", "expected a text, a finite number, true or false")]
_BoundValue = Annotated[
    Bound, _or_sentence("filter_bound", "expected a finite number, or a date as ISO 8601 text such as 2011-05-01")
]


class _Condition(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class Equals(_Condition):
    """The field has this value, or holds a list with this value in it; types are not converted."""

    field: FieldPath
    eq: _Value


class OneOf(_Condition):
    """The field has one of these values, or holds a list with one of them in it."""

    field: FieldPath
    one_of: list[_Value] = Field(alias="in", min_length=1, max_length=1_000, fail_fast=True)


class Range(_Condition):
    """The field, or an element of the list in it, is within the bounds: at least one of gt, gte, lt, lte.

    Either all bounds are numbers, or all are dates and times as ISO 8601 texts, compared with such texts.
    """

    field: FieldPath
    range: dict[Literal["gt", "gte", "lt", "lte"], _BoundValue] = Field(min_length=1)

    @field_validator("range", mode="before")
    @classmethod
    def _has_known_bounds(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value or any(name not in _BOUNDS for name in value):
            got = ", ".join(map(_shown, value)) or "no bound" if isinstance(value, dict) else _shown(value)
            raise PydanticCustomError(
                "filter_range", "expected at least one of the bounds gt, gte, lt, lte, got {got}", {"got": got[:120]}
            )
        return value

    @field_validator("range")
    @classmethod
    def _has_bounds_of_one_type(cls, value: dict[str, Bound]) -> dict[str, Bound]:
        texts = [bound for bound in value.values() if isinstance(bound, str)]
        if texts and len(texts) < len(value):
            raise PydanticCustomError(
                "filter_range", "expected either numbers or dates as the bounds of a range, got both"
            )
        for text in texts:
            if instant_of(text) is None:
                raise PydanticCustomError(
                    "filter_bound",
                    "expected a number, or a date or time as ISO 8601 text such as 2011, 2011-05-01 or "
                    "2011-05-01T12:30:00+02:00, got {got}",
                    {"got": repr(text[:80])},
                )
        return value


class Exists(_Condition):
    """The payload has the field (true), if only with the value null, or lacks it (false)."""

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


_TOO_MANY: Any = f"expected a filter of at most {MAX_VALUES} values and conditions, got more"
_TOO_DEEP: Any = f"expected a filter of at most {MAX_DEPTH} nested levels, got more"
_KIND_BY_KEY = {
    "eq": "Equals",
    "in": "OneOf",
    "range": "Range",
    "exists": "Exists",
    "and": "AllOf",
    "or": "AnyOf",
    "not": "Not",
}


def _kind(value: Any) -> str | None:
    """The kind of a condition, by the key that only this kind has; None if there is no such key, or several."""
    if isinstance(value, _Condition):
        return type(value).__name__
    found = [kind for key, kind in _KIND_BY_KEY.items() if isinstance(value, dict) and key in value]
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
            raise PydanticCustomError("filter_size", _TOO_MANY)
        if not below:
            return value
        level = below
    raise PydanticCustomError("filter_size", _TOO_DEEP)


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


_KINDS = frozenset(_KIND_BY_KEY.values())
_SENTENCES = {
    "missing": "expected this member; every condition but and, or and not has a field",
    "extra_forbidden": "expected no such member in a condition",
    "string_type": "expected a text",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
}


def _told_in_sentences(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Say what was expected where Pydantic names its own types, and point at the filter's own members."""
    try:
        return handler(value)
    except ValidationError as error:
        told = [_told(each) for each in error.errors(include_url=False)]
        raise ValidationError.from_exception_data("Filter", told) from None


def _told(error: Any) -> InitErrorDetails:
    # The kinds of conditions are ours, and not members of the filter.
    place = tuple(part for part in error["loc"] if part not in _KINDS)
    sentence = _SENTENCES.get(error["type"], error["msg"])
    shown = PydanticCustomError(error["type"], "{sentence}", {"sentence": sentence})
    return InitErrorDetails(type=shown, loc=place, input=error["input"])


Filter = Annotated[_Nested, BeforeValidator(_within_bounds), WrapValidator(_told_in_sentences)]

for _model in (AllOf, AnyOf, Not):
    _model.model_rebuild()
