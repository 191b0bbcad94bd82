"""Vectors as users have them: arrays of any float type, lists, tuples, tensors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from askew_client.contract.errors import WireError
from askew_client.contract.problems import ProblemKind


def numbers_of(values: ArrayLike) -> NDArray[np.float32]:
    """What `array_of` reads, as float32 of the same shape. Raises WireError."""
    # By far the most usual: what an encoder returned.
    if type(values) is np.ndarray and values.dtype == np.float32:
        return values
    array = array_of(values)
    # Numbers beyond float32 become infinite, which is refused with the rest that is not finite.
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def array_of(values: ArrayLike) -> NDArray[np.generic]:
    """An array, a list or tuple of numbers, or what offers itself as an array (a tensor), as an array of real numbers.

    An array keeps its type and is not copied: it may be a large file. Raises WireError for anything else: texts, truth
    values, complex numbers, missing values, rows of unequal length.
    """
    try:
        array = np.asarray(values)
    # An object that offers itself as an array may fail in any way, as a tensor does that is on a GPU or has a gradient.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise _no_numbers(f"{_article(type(values).__name__)}, which cannot become an array ({reason})") from None
    if array.dtype.kind == "b" or not np.can_cast(array.dtype, np.float32, "same_kind"):
        raise _no_numbers(f"{_article(type(values).__name__)} of {array.dtype.name}")
    # Not np.ma.is_masked: whoever has no masked arrays would import numpy.ma for it, 10 ms, at a first request.
    if isinstance(values, np.ndarray) and np.any(getattr(values, "mask", False)):
        raise _no_numbers("a masked array with missing values")
    return array


def _no_numbers(came: str) -> WireError:
    return WireError(
        ProblemKind.VALIDATION,
        f"Expected a vector of real numbers (an array, a list, a tuple or a tensor on the CPU), got {came}.",
    )


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
