"""A path names every field that a payload can have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.contract.common import MAX_PAYLOAD_LEVELS
from askew_client.contract.filters.field_paths import field_path, keys_of


@given(st.lists(st.text(st.characters(), max_size=6), min_size=1, max_size=MAX_PAYLOAD_LEVELS))
def test_keys_are_read_as_they_were_written(keys: list[str]) -> None:
    assert keys_of(field_path(*keys)) == tuple(keys)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("place.city", ("place", "city")),
        ("a\\b", ("a\\b",)),
        ("a\\.b", ("a\\", "b")),
        ('"a.b".c', ("a.b", "c")),
        ('c."a.b"', ("c", "a.b")),
        ('"say \\"x\\"".""', ('say "x"', "")),
        ('"n\\u0000ul"', ("n\x00ul",)),
        ('"place"."city"', ("place", "city")),
        (" a . b ", (" a ", " b ")),
    ],
)
def test_a_key_with_a_dot_is_quoted(path: str, keys: tuple[str, ...]) -> None:
    assert keys_of(path) == keys


@pytest.mark.parametrize(
    "path",
    ["", ".", "a.", ".a", "a..b", 'a"b', '"a', '"a"b', "a[0]", "a\x00", '"\\x"', ".".join("a" * 33), "a" * 16_385],
)
def test_other_texts_are_not_paths(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        keys_of(path)
