"""Values that do not fit the contract are refused in sentences: no pattern, no word of the library that checks them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

import askew_client.contract
from askew_client.contract.common import GalleryName, ItemId
from askew_client.contract.filters.conditions import Filter
from askew_client.contract.galleries import SetAliasRequest
from askew_client.contract.items import DeleteItemsRequest, UpsertRequest
from askew_client.contract.keys import CreateKeyRequest
from askew_client.contract.offline_pack import OfflinePackPolicy
from askew_client.contract.search import BatchSearchRequest, SearchOptions, SearchRequest
from askew_client.wording import describe_errors, expectation, show_value, suggest_name, text_rules

LIBRARY = re.compile(
    r"Input should|should be|should match|should have|String|Value error|pattern|\^\[|\bpydantic\b|\{0,|valid (integer|number|list|dict)"
    r"|instance of|Field required|not permitted|str\b|\bdict\b|\bint\b|unable to parse"
)
"""What only a programmer of the server would understand."""


def models() -> list[type[BaseModel]]:
    """Every model of the contract."""
    found = set()
    for module in pkgutil.iter_modules(askew_client.contract.__path__, "askew_client.contract."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__.startswith("askew_client"):
                found.add(value)
    return sorted(found, key=lambda model: model.__qualname__)


def sentences(model: Any, value: object) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(model).validate_python(value)
    return [fault.sentence for fault in describe_errors(refused.value.errors())]


def patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for value in schema.values():
            yield from patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns(value)


def test_every_pattern_of_the_contract_has_words() -> None:
    used = {pattern for model in models() for pattern in patterns(model.model_json_schema())}
    assert len(used) > 5
    assert used - set(text_rules()) == set(), "write their words in contract/wording.py"


CASES = [
    (GalleryName, "My Gallery",
     "Expected a gallery name of 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit, "
     "got 'My Gallery'. Try 'my-gallery'."),
    (GalleryName, "", "Expected a gallery name of 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit, got ''."),
    (GalleryName, 5, "Expected text, got 5."),
    (SetAliasRequest, {"gallery": "Été 2024"}, "digit, got 'Été 2024'. Try 'ete-2024'."),
    (ItemId, "a\nb", "Expected an id of 1 to 512 characters, none of them a control character, got 'a\\nb'."),
    (SearchOptions, {"limit": 0}, "Expected a number of at least 1 in `limit`, got 0."),
    (SearchOptions, {"limit": 1_001}, "Expected a number of at most 1000 in `limit`, got 1001."),
    (SearchOptions, {"limit": 1.5}, "Expected a whole number in `limit`, got 1.5."),
    (SearchOptions, {"limit": "many"}, "Expected a whole number in `limit`, got 'many'."),
    (SearchOptions, {"limit": 10**5_000}, "Expected a number of at most 1000 in `limit`, got an integer of thousands of digits."),
    (SearchOptions, {"max_false_match": 1}, "Expected a number below 1 in `max_false_match`, got 1."),
    (SearchOptions, {"exact": "perhaps"}, "Expected true or false in `exact`, got 'perhaps'."),
    (SearchOptions, {"limitt": 3}, "Expected only known members, got `limitt`. Is it misspelt? Leave it out otherwise."),
    (SearchOptions, {"exclude": ["a"] * 101}, "Expected at most 100 entries in `exclude`, got a list of 101."),
    (SearchOptions, {"with_payload": 7}, "Expected true or false or a list in `with_payload`, got 7."),
    (SearchOptions, {"with_payload": ["a", "b["]}, "Expected a field: up to 32 keys joined by dots, such as place.city"),
    (SearchOptions, {"score_threshold": 0, "max_false_match": 0.1}, "Expected score_threshold or max_false_match, got both."),
    (SearchOptions, {"filter": {"field": "a"}}, "Expected exactly one of eq, in, range, exists (with a field), and, or, not in `filter`."),
    (SearchOptions, {"filter": {"field": "a", "eq": [1]}}, "Expected a text, a finite number, true or false, got a list in `filter.eq`."),
    (SearchRequest, {"limit": 3}, "Expected `vector`, which is missing. Add it."),
    (SearchRequest, {"vector": 5}, "Expected text or a list in `vector`, got 5."),
    (SearchRequest, {"vector": [1, "x"]}, "Expected text in `vector`, got a list of 2."),
    (SearchRequest, {"vector": "", "space": "sp2"}, "Expected a space of the form sp1- and 32 digits, 0 to 9 and a to f, got 'sp2'."),
    (SearchRequest, {"vector": "", "encoder": "x" * 141}, "Expected text of at most 140 characters in `encoder`, got 'xxx"),
    (BatchSearchRequest, {"queries": []}, "Expected at least 1 entry in `queries`, got a list of 0."),
    (BatchSearchRequest, {"queries": [{"vector": ""}, {}]}, "Expected `vector` in `queries[1]`, which is missing. Add it."),
    (UpsertRequest, {"items": [{"id": "a", "vector": "", "payload": {"a": float("nan")}}]}, "Expected finite numbers"),
    (UpsertRequest, {"items": "all"}, "Expected a list in `items`, got 'all'."),
    (UpsertRequest, [], "Expected an object, got a list of 0."),
    (DeleteItemsRequest, {"ids": [""]}, "control character in `ids[0]`, got ''."),
    (CreateKeyRequest, {"name": "", "scopes": ["read"]}, "Expected a name of 1 to 100 characters, none of them a control character, got ''."),
    (CreateKeyRequest, {"name": "x", "scopes": ["read"]}, "Expected one of 'search', 'write' or 'admin' in `scopes[0]`, got 'read'."),
    (CreateKeyRequest, {"name": "x", "scopes": ["search"], "galleries": ["No Name"]}, "digit in `galleries[0]`, got 'No Name'. Try 'no-name'."),
    (CreateKeyRequest, {"name": "x", "scopes": ["search"], "expires_at": "soon"}, "Expected a date and time such as 2027-01-31T00:00:00Z in `expires_at`."),
    (OfflinePackPolicy, {"fields": ["a", "a"]}, "Expected every field once, got 'a' twice in `fields`."),
]  # fmt: skip


@pytest.mark.parametrize(("model", "value", "sentence"), CASES, ids=range(len(CASES)))
def test_a_refusal_is_a_sentence(model: Any, value: object, sentence: str) -> None:
    found = sentences(model, value)
    assert any(sentence in each for each in found), found
    for each in found:
        assert LIBRARY.search(each) is None, each
        assert each.endswith(".")


WRONG: list[object] = [
    None, True, -1, 10**30, 10**5_000, 1.5, float("nan"), float("inf"), "", "x", "No Name", "x" * 10_000, "\x00", [], [None],
    ["x"] * 3, {}, {"a": 1}, {"limit": 1}, b"\xff", object(),
]  # fmt: skip
"""Of every kind of value, one that something does not take."""


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__qualname__)
def test_no_member_of_the_contract_is_refused_in_the_librarys_words(model: type[BaseModel]) -> None:
    names = [field.alias or name for name, field in model.model_fields.items()]
    values = [*WRONG, *({name: wrong} for name in names for wrong in WRONG), {"unknown": 1}]
    refused = 0
    for value in values:
        try:
            model.model_validate(value)
        except ValidationError as error:
            refused += 1
            for fault in describe_errors(error.errors()):
                assert LIBRARY.search(fault.sentence.replace("str`", "`")) is None, fault.sentence
                assert "a value that fits" not in fault.sentence, (fault.sentence, error.errors())
                assert fault.sentence.endswith(".") and fault.sentence[0].isupper()
                assert len(fault.sentence) < 700
            assert expectation(error)
    assert refused > len(WRONG) / 2


@given(st.text(max_size=100))
def test_a_suggested_name_is_a_name(text: str) -> None:
    name = suggest_name(text)
    if name:
        assert TypeAdapter(GalleryName).validate_python(name) == name


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda s: st.lists(s) | st.dictionaries(st.text(), s),
    )
)
def test_any_value_is_shown_shortly(value: object) -> None:
    assert 0 < len(show_value(value)) < 80


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["field", "eq", "in", "and", "or", "not", "range"]), s),
    )
)
def test_any_filter_is_refused_in_a_sentence(value: object) -> None:
    try:
        TypeAdapter(Filter).validate_python(value)
    except ValidationError as error:
        for fault in describe_errors(error.errors()):
            assert LIBRARY.search(fault.sentence.partition(", got")[0]) is None, fault.sentence
