"""Conditions on payloads: which are accepted, and which are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.filters.conditions import MAX_DEPTH, MAX_VALUES, Filter

ADAPTER: TypeAdapter[Any] = TypeAdapter(Filter)


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "kind", "eq": "landmark"},
        {"field": "place.city", "eq": True},
        {"field": "year", "in": [1900, 1901.5, "unknown"]},
        {"field": "year", "range": {"gte": 1900, "lt": 2000}},
        {"field": "author", "exists": False},
        {"field": "a\\b", "eq": "a\x00b"},
        {"field": '"a.b"."".c', "eq": 2**64 + 1},
        {"field": "n", "range": {"gt": 2**53 + 1, "lt": 10**40}},
        {"field": "taken", "range": {"gte": "2021-01-01", "lt": "2022-01-01T00:00:00.5+02:00"}},
        {"and": [{"field": "a", "eq": 1}, {"or": [{"field": "b", "eq": 2}, {"not": {"field": "c", "eq": 3}}]}]},
    ],
)
def test_a_condition_keeps_its_json(condition: dict[str, Any]) -> None:
    assert ADAPTER.dump_python(ADAPTER.validate_python(condition), by_alias=True) == condition


@pytest.mark.parametrize(
    "condition",
    [
        None,
        [],
        "kind = landmark",
        {},
        {"field": "kind"},
        {"eq": 1},
        {"field": "kind", "eq": 1, "in": [1]},
        {"field": "kind", "equals": 1},
        {"field": "kind", "eq": None},
        {"field": "kind", "eq": {"a": 1}},
        {"field": "kind", "in": []},
        {"field": "year", "range": {}},
        {"field": "year", "range": {"above": 3}},
        {"field": "year", "range": {"gt": "nineteen hundred"}},
        {"field": "", "eq": 1},
        {"field": 'a"b', "eq": 1},
        {"field": '"a', "eq": 1},
        {"field": '"a"b', "eq": 1},
        {"field": '"a".', "eq": 1},
        {"field": '"\\x"', "eq": 1},
        {"field": "a\x00b", "eq": 1},
        {"field": "a", "eq": float("nan")},
        {"field": "a..b", "eq": 1},
        {"field": "a[0]", "eq": 1},
        {"field": ".".join("a" * 33), "eq": 1},
        {"and": []},
        {"not": [{"field": "a", "eq": 1}]},
    ],
)
def test_other_values_are_refused(condition: Any) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(condition)


@pytest.mark.parametrize(
    ("condition", "place", "sentence"),
    [
        ({"field": "a", "eq": None}, ("eq",), "expected a text, a finite number, true or false, got null"),
        ({"field": "a", "in": [1, {}]}, ("in", 1), "expected a text, a finite number, true or false, got an object"),
        ({"field": "a", "range": {"gte": True}}, ("range", "gte"), "expected a finite number, or a date .* got true"),
        ({"field": "a", "range": {"gte": "soon"}}, ("range",), "expected a number, or a date or time .* got 'soon'"),
        ({"field": "a", "range": {"gte": "2011", "lt": 5}}, ("range",), "expected either numbers or dates .* got both"),
        (
            {"field": "a", "range": {"above": 5}},
            ("range",),
            "expected at least one of the bounds gt, gte, lt, lte, got 'above'",
        ),
        (
            {"and": [{"field": "a.", "eq": 1}]},
            ("and", 0, "field"),
            r"expected a field: .* got 'a\.' \(no key at character 2\)",
        ),
        ({"not": {"eq": 1}}, ("not", "field"), "expected this member"),
        ({"field": "a", "exists": "yes"}, ("exists",), "expected true or false"),
    ],
)
def test_a_refusal_says_what_was_expected_and_where(
    condition: dict[str, Any], place: tuple[str | int, ...], sentence: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        ADAPTER.validate_python(condition)
    (error,) = refused.value.errors()
    assert error["loc"] == place
    assert re.match(sentence, error["msg"])


def nested(levels: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"field": "a", "eq": 1}
    for _ in range(levels - 1):
        condition = {"not": condition}
    return condition


def test_the_depth_of_a_filter_is_bounded() -> None:
    ADAPTER.validate_python(nested(MAX_DEPTH))
    with pytest.raises(ValidationError, match=f"at most {MAX_DEPTH} nested levels"):
        ADAPTER.validate_python(nested(10 * MAX_DEPTH))


def test_the_number_of_values_in_a_filter_is_bounded() -> None:
    many = {"or": [{"field": "a", "in": list(range(1_000))} for _ in range(MAX_VALUES // 1_000)]}
    with pytest.raises(ValidationError, match=f"at most {MAX_VALUES} values"):
        ADAPTER.validate_python(many)
