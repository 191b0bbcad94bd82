"""The encoding of vectors on the wire: raw little-endian float16 or float32, base64 of these, or a JSON list.

The dtype is always named with its byte order (`f16le`, `f32le`). The length is always checked against the space's
dimension. A vector is always finite and of unit length. A 2048-d vector is 4,096 bytes as raw f16le.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.errors import WireError
from askew_client.contract.problems import ProblemKind

Dtype = Literal["f16le", "f32le"]

NORM_TOLERANCE = 1e-2
"""How far a vector's length may be from 1: well above the effect of float16 rounding (2e-4 at 2048-d)."""


def numpy_dtype(dtype: str | None) -> np.dtype[np.float16] | np.dtype[np.float32]:
    """The numpy dtype of a wire dtype. Raises WireError (unsupported-dtype) for a missing or unknown name."""
    if dtype == "f16le":
        return np.dtype("<f2")
    if dtype == "f32le":
        return np.dtype("<f4")
    supported = " or ".join(get_args(Dtype))
    came = "none came" if dtype is None else f"got {dtype!r}"
    raise WireError(
        ProblemKind.UNSUPPORTED_DTYPE,
        f"Expected the vector's dtype as {supported} (with its byte order), but {came}.",
        {"expected": list(get_args(Dtype)), "received": dtype},
    )


def pack(vectors: NDArray[np.float32], dtype: Dtype = "f16le") -> bytes:
    """Encode float32 [D] or [n, D] unit vectors as raw bytes, row after row."""
    return np.ascontiguousarray(vectors, dtype=numpy_dtype(dtype)).tobytes()


def pack_base64(vector: NDArray[np.float32], dtype: Dtype = "f16le") -> str:
    """Encode one float32 [D] unit vector as base64 text for JSON."""
    return base64.b64encode(pack(vector, dtype)).decode("ascii")


def unpack(body: bytes, dtype: str | None, dim: int) -> NDArray[np.float32]:
    """Decode one raw vector to float32 [D], finite and of unit length. Raises WireError."""
    wire_dtype = numpy_dtype(dtype)
    expected = dim * wire_dtype.itemsize
    if len(body) != expected:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH,
            f"Expected {expected} bytes ({dim} values of {dtype}), got {len(body)} bytes"
            f"{_guess_dtype(len(body), dim)}.",
            {"expected": dim, "expected_bytes": expected, "received_bytes": len(body), "dtype": dtype},
        )
    vector = np.frombuffer(body, dtype=wire_dtype).astype(np.float32)
    check_vector(vector)
    return vector


def unpack_json(value: str | Sequence[float], dtype: str | None, dim: int) -> NDArray[np.float32]:
    """Decode a vector from JSON (base64 text with its dtype, or a list of numbers) to float32 [D]. Raises WireError."""
    if isinstance(value, str):
        try:
            body = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise WireError(
                ProblemKind.VALIDATION, f"Expected the vector as base64 or as a list of numbers: {error}."
            ) from None
        return unpack(body, dtype, dim)
    if len(value) != dim:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH,
            f"Expected a vector of {dim} values, got {len(value)}. Was it made by an encoder of this space?",
            {"expected": dim, "received": len(value)},
        )
    with np.errstate(over="ignore"):
        vector = np.asarray(value, dtype=np.float64).astype(np.float32)
    check_vector(vector)
    return vector


def check_vector(vector: NDArray[np.float32]) -> None:
    """Check that a float32 [D] vector is finite and has a length within 0.01 of 1. Raises WireError."""
    # Huge values overflow to an infinite length, which is refused below; numpy need not warn of it.
    with np.errstate(over="ignore", invalid="ignore"):
        norm = float(np.sqrt(np.dot(vector, vector)))
    if abs(norm - 1.0) <= NORM_TOLERANCE:
        return
    if not np.isfinite(vector).all():
        bad = int(vector.size - np.isfinite(vector).sum())
        raise WireError(
            ProblemKind.NOT_FINITE,
            f"Expected finite values, got {bad} of {vector.size} that are NaN or infinite. Is the named dtype right?",
            {"not_finite": bad},
        )
    raise WireError(
        ProblemKind.NOT_NORMALISED,
        f"Expected a vector of length 1 (within {NORM_TOLERANCE}), got one of length {norm:.4g}. "
        "Send the encoder's output unchanged, or divide the vector by its length.",
        {"norm": norm if np.isfinite(norm) else None, "tolerance": NORM_TOLERANCE},
    )


def _guess_dtype(received: int, dim: int) -> str:
    if received == dim * 2:
        return ", which is the length of f16le"
    if received == dim * 4:
        return ", which is the length of f32le"
    return ""
