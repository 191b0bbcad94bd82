"""Vectors on the wire: unit vectors are decoded as they were, and everything else is refused with its kind of problem."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import check_vector, pack, pack_base64, unpack, unpack_json
from askew_client.errors import WireError

dims = st.integers(1, 300)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(["f16le", "f32le"])


def unit(dim: int, seed: int = 0) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def kind_of(body: bytes, dtype: str | None, dim: int) -> ProblemKind:
    with pytest.raises(WireError) as caught:
        unpack(body, dtype, dim)
    return caught.value.kind


@given(dims, seeds)
def test_f32le_is_exact(dim: int, seed: int) -> None:
    vector = unit(dim, seed)
    assert np.array_equal(unpack(pack(vector, "f32le"), "f32le", dim), vector)
    assert np.array_equal(unpack_json(pack_base64(vector, "f32le"), "f32le", dim), vector)


@given(dims, seeds)
def test_f16le_differs_by_rounding_only(dim: int, seed: int) -> None:
    vector = unit(dim, seed)
    came = unpack(pack(vector), "f16le", dim)
    assert came.dtype == np.float32
    # Half precision has 11 significant bits; below 2^-14 it is denormal, in steps of 2^-24.
    assert (np.abs(came - vector) <= np.maximum(np.abs(vector) * 2.0**-11, 2.0**-25)).all()
    assert np.array_equal(unpack_json(pack_base64(vector), "f16le", dim), came)


def test_2048_dimensions_are_4096_bytes_in_little_endian() -> None:
    assert len(pack(unit(2048))) == 4096
    assert pack(np.array([1.0], dtype=np.float32)) == b"\x00\x3c"


@given(dims, st.integers(0, 2000), dtypes)
def test_other_lengths_are_refused(dim: int, length: int, dtype: str) -> None:
    if length != dim * (2 if dtype == "f16le" else 4):
        assert kind_of(bytes(length), dtype, dim) is ProblemKind.DIMENSION_MISMATCH


def test_the_error_names_the_dtype_that_has_this_length() -> None:
    with pytest.raises(WireError, match="length of f32le"):
        unpack(pack(unit(8), "f32le"), "f16le", 8)


@pytest.mark.parametrize("dtype", [None, "", "f16", "f16be", "float32", "F32LE", "f32le "])
def test_other_dtypes_are_refused(dtype: str | None) -> None:
    assert kind_of(pack(unit(8)), dtype, 8) is ProblemKind.UNSUPPORTED_DTYPE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f16le", "f32le"])
def test_values_that_are_not_finite_are_refused(bad: float, dtype: str) -> None:
    vector = unit(8)
    vector[3] = bad
    body = np.asarray(vector, dtype="<f2" if dtype == "f16le" else "<f4").tobytes()
    assert kind_of(body, dtype, 8) is ProblemKind.NOT_FINITE


@pytest.mark.parametrize("factor", [0.0, 0.98, 1.02, 255.0])
def test_the_error_of_another_length_than_one_states_it(factor: float) -> None:
    with pytest.raises(WireError) as caught:
        check_vector(unit(8) * np.float32(factor))
    assert caught.value.kind is ProblemKind.NOT_NORMALISED
    assert caught.value.extras["norm"] == pytest.approx(factor, abs=1e-3)


@given(st.binary(max_size=64), dtypes | st.none(), st.integers(1, 16))
def test_any_bytes_give_a_unit_vector_or_a_wire_error(body: bytes, dtype: str | None, dim: int) -> None:
    try:
        vector = unpack(body, dtype, dim)
    except WireError:
        return
    assert np.linalg.norm(vector) == pytest.approx(1, abs=0.011)


@given(st.lists(st.floats(width=64), max_size=12) | st.text(max_size=40), st.integers(1, 12))
def test_any_json_gives_a_unit_vector_or_a_wire_error(value: list[float] | str, dim: int) -> None:
    try:
        vector = unpack_json(value, "f16le", dim)
    except WireError:
        return
    assert vector.shape == (dim,)


def test_text_that_is_not_base64_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        unpack_json("not base64!", "f16le", 4)
    assert caught.value.kind is ProblemKind.VALIDATION


def test_a_list_of_numbers_needs_no_dtype() -> None:
    assert unpack_json([0.6, 0.8], None, 2).tolist() == pytest.approx([0.6, 0.8])
    with pytest.raises(WireError, match="Expected a vector of 3 values, got 2"):
        unpack_json([0.6, 0.8], None, 3)


def test_base64_without_a_dtype_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        unpack_json(base64.b64encode(pack(unit(4))).decode(), None, 4)
    assert caught.value.kind is ProblemKind.UNSUPPORTED_DTYPE
