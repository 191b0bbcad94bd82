"""Vectors in every form that users have them, and sentences for what is no vector."""

from __future__ import annotations

import array
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from askew_client import Client
from askew_client.calls.bodies import checked_vector, vector_rows
from askew_client.calls.vectors import array_of, numbers_of
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import unpack
from askew_client.errors import AskewError, ProblemError, WireError
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VALUES = [0.6, 0.8, 0.0, 0.0]


class ArrayLike:
    """As a tensor of any library: it offers itself as an array."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(VALUES, dtype)


FORMS: list[Any] = [
    VALUES,
    tuple(VALUES),
    [np.float32(each) for each in VALUES],
    array.array("f", VALUES),
    array.array("d", VALUES),
    memoryview(array.array("f", VALUES)),
    *[
        np.array(VALUES, kind)
        for kind in (np.float16, np.float32, np.float64, np.longdouble, ">f4", "<f2", ml_dtypes.bfloat16)
    ],
    np.array([9.0, *VALUES, 9.0])[1:-1],
    np.array(VALUES + VALUES)[np.array([0, 1, 2, 3])],
    np.ma.masked_array(VALUES),
    torch.tensor(VALUES),
    torch.tensor(VALUES, dtype=torch.float64),
    list(torch.tensor(VALUES)),
    ArrayLike(),
]
NO_VECTORS: list[Any] = [
    None, 3, 0.5, "0.6 0.8", b"\x00" * 16, "1", [], {}, {"vector": VALUES}, {0.6, 0.8}, object(), (each for each in VALUES),
    [None, 0.6], ["0.6", "0.8"], [True, False], np.array([True, False]), [0.6, [0.8]], [0.6 + 0j, 0.8], np.array(["a"]),
    [Decimal("0.6"), Decimal("0.8")], [VALUES], np.array([VALUES]), np.array(0.6), np.zeros((2, 2, 2)), [2**70, 0],
    [float("nan"), 0.6], [float("inf"), 0.0], [1e300, 0.0], [0.0, 0.0], [3.0, 4.0], np.ma.masked_array(np.array(VALUES), np.array([False, True, False, False])),
    np.array([(0.6, 0.8)], dtype=[("a", "f4"), ("b", "f4")]), np.array(["2020-01-01"], "M8[D]"), np.array([1, 2], "m8[s]"),
    torch.tensor(VALUES, requires_grad=True), torch.tensor(VALUES, dtype=torch.bfloat16), torch.tensor([VALUES]), range(3), Exception,
    np.array([0.6, None], object), lambda: VALUES,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_every_form_is_sent_as_the_same_bytes(server: ScriptedServer, client: Client, number: int) -> None:
    server.answer({"hits": [], "space": SPACE, "gallery": "g", "index": "exact", "exact": True, "results": []})
    vector = FORMS[number]
    client.search(vector, space=SPACE)
    client.search_batch([vector], space=SPACE)
    assert unpack(server.requests[0].body, "f16le", 4) == pytest.approx(VALUES, abs=2e-3)
    server.answers[:] = []
    server.answer({"upserted": 1, "sequence": 1})
    client.upsert(["a"], [vector], gallery="g", space=SPACE)
    client.upsert_items([("a", vector, {})], gallery="g", space=SPACE)
    client.upsert_photo("a", b"\xff\xd8\xff" + bytes(40), gallery="g", vector=vector, space=SPACE)
    assert server.requests[2].body == server.requests[3].body


@pytest.mark.parametrize("number", range(len(NO_VECTORS)))
def test_what_is_no_vector_gets_a_sentence(server: ScriptedServer, client: Client, number: int) -> None:
    vector = NO_VECTORS[number]
    if isinstance(vector, Generator):
        vector = list  # A generator can be read once only.
    for call in (
        lambda: client.search(vector, space=SPACE),
        lambda: client.upsert_items([("a", vector, {})], gallery="g", space=SPACE),
        lambda: client.upsert_items([("a", VALUES, {}), ("b", vector, {})], gallery="g", space=SPACE),
    ):
        with pytest.raises(WireError, match=r"Expected|Item"):
            call()
    assert not server.requests


@pytest.mark.parametrize(
    "rows", [VALUES, np.array(VALUES), [], [[]], [[0.6, 0.8], [1.0]], None, "ab", np.zeros((0,)), [[VALUES]]]
)
def test_what_are_no_rows_gets_a_sentence(server: ScriptedServer, client: Client, rows: Any) -> None:
    with pytest.raises(WireError, match="Expected"):
        client.search_batch(rows, space=SPACE)
    with pytest.raises((WireError, ValueError), match=r"Expected|expected|Item"):
        client.upsert(["a"], rows, gallery="g", space=SPACE)
    assert not server.requests


def test_an_array_is_not_copied() -> None:
    for kind in (np.float16, np.float32, np.float64):
        large = np.zeros((3, 4), kind)
        assert np.shares_memory(array_of(large), large)
    assert numbers_of(large.astype(np.float32)).dtype == np.float32


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.complex_numbers()
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2) | st.tuples(inner, inner)
    ),
    max_leaves=6,
)


@given(anything)
def test_anything_is_read_or_refused_with_a_sentence(value: Any) -> None:
    for read in (checked_vector, vector_rows):
        try:
            assert read(value).dtype == np.float32
        except AskewError as error:
            assert str(error).startswith("Expected")


def test_the_problem_of_a_wrong_length_comes_from_the_server(server: ScriptedServer, client: Client) -> None:
    server.problem(ProblemKind.DIMENSION_MISMATCH, {"expected": 8, "received": 4})
    with pytest.raises(ProblemError, match="What came"):
        client.search(VALUES, space=SPACE)
