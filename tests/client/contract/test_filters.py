"""Conditions on payloads: what is one, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.filters import Filter

ADAPTER: TypeAdapter[Any] = TypeAdapter(Filter)


@pytest.mark.parametrize(
    "condition",
    [
        {"field": "kind", "eq": "landmark"},
        {"field": "place.city", "eq": True},
        {"field": "year", "in": [1900, 1901.5, "unknown"]},
        {"field": "year", "range": {"gte": 1900, "lt": 2000}},
        {"field": "author", "exists": False},
        {"and": [{"field": "a", "eq": 1}, {"or": [{"field": "b", "eq": 2}, {"not": {"field": "c", "eq": 3}}]}]},
    ],
)
def test_conditions_come_back_as_they_went_in(condition: dict[str, Any]) -> None:
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
        {"field": "year", "range": {"gt": "1900"}},
        {"field": "", "eq": 1},
        {"field": 'a"b', "eq": 1},
        {"field": "a..b", "eq": 1},
        {"field": "a[0]", "eq": 1},
        {"field": "a.b.c.d.e.f.g.h.i", "eq": 1},
        {"and": []},
        {"not": [{"field": "a", "eq": 1}]},
    ],
)
def test_anything_else_is_refused(condition: Any) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(condition)
