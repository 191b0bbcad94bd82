"""Tokens say of a payload what its filter asks: an expression is true where the condition holds, and where it is exact, only there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from askew_client.contract.filters.conditions import Filter
from askew_server.milvus.conditions import compile_condition
from askew_server.milvus.tokens import TOKEN_LENGTH, payload_tokens
from askew_server.storage.filtering.predicates import predicate_of

KEYS = st.sampled_from(["a", "b", "a.b", 'q"\\'])
SCALARS = st.sampled_from(
    [0, 1, 1.0, -0.0, True, False, "", "1", "a", 2**53, 2**53 + 1, 2.0**53, 1e300, "2011-05-01", 0.1]
)
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
PAYLOADS = st.dictionaries(KEYS, VALUES, max_size=3)
FIELDS = st.sampled_from(["a", "b", "a.b", '"a.b"', '"q\\"\\\\"', "a.a"])
LEAVES = st.one_of(
    st.fixed_dictionaries({"field": FIELDS, "eq": SCALARS}),
    st.fixed_dictionaries({"field": FIELDS, "in": st.lists(SCALARS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"field": FIELDS, "exists": st.booleans()}),
    st.fixed_dictionaries({"field": FIELDS, "range": st.sampled_from([{"gte": 1}, {"lt": 2**53 + 1}, {"gt": "2011"}])}),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=4,
)
ADAPTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def selects(expression: str, tokens: list[str]) -> bool:
    """Whether an expression selects an item with these tokens. What Askew writes for Milvus is Python, too."""
    functions = {
        "array_contains": lambda held, token: token in held,
        "array_contains_any": lambda held, wanted: any(token in held for token in wanted),
    }
    return expression == "" or bool(eval(expression, {"tokens": tokens, **functions}))


@pytest.mark.slow
@given(CONDITIONS, PAYLOADS)
@example({"field": "a", "eq": 1}, {"a": 1.0})
@example({"field": "a", "eq": 1}, {"a": True})
@example({"field": "a", "eq": 2.0**53}, {"a": 2**53 + 1})
@example({"field": "a", "eq": "1"}, {"a": [1]})
@example({"field": "a.b", "eq": "a"}, {"a.b": "a"})
@example({"not": {"field": "a", "exists": True}}, {"a": None})
@example({"not": {"field": "a", "range": {"gte": 1}}}, {"a": 0})
@settings(max_examples=100)
def test_an_expression_selects_what_meets_the_condition(condition: dict[str, Any], payload: dict[str, Any]) -> None:
    read = ADAPTER.validate_python(condition)
    compiled = compile_condition(read)
    tokens = payload_tokens(payload)
    assert all(len(token) == TOKEN_LENGTH for token in tokens)
    expected, selected = predicate_of(read)(payload), selects(compiled.expression, tokens)
    assert selected or not expected
    if compiled.is_exact:
        assert selected == expected
