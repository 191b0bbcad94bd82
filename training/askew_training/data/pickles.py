"""Read the pickles of published files: plain values and arrays of numbers; nothing in them is executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError

MAX_BYTES = 2**28
"""Fifty times the size of the largest published list."""
KINDS = re.compile(r"b1|[iu][1248]|f[248]|[SU][0-9]{1,4}")
"""Booleans, integers, floats and texts of a fixed length. Not objects: their bytes would be addresses."""

DAMAGED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What the standard library's reader raises for bytes that are not a complete pickle."""


def read_pickle(path: Path) -> object:
    """Read a pickle of lists, tuples, dicts, numbers, texts, bytes and NumPy arrays or scalars of plain kinds.

    Understands pickles of Python 2 and 3, of NumPy 1 and 2, and protocols 0 to 5; texts of Python 2 are read as latin-1.
    Of the names that a pickle may refer to, only those of arrays are resolved, and to functions of this module, because
    NumPy's own accept any memory layout that a pickle describes. Raises DataError for any other name, before anything
    is called.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES / 1e6:.0f} MB. Expected a pickled list of photos.")
        with path.open("rb") as stream:
            return _PlainUnpickler(stream, path).load()
    except OSError as error:
        raise DataError(f"Expected a pickle, but {path} cannot be read: {error.strerror}.") from None
    except DAMAGED:
        raise DataError(
            f"{path} is not a complete pickle of plain lists and arrays. Fetch it again from its publisher."
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self._path = path
        self._substitutes = array_substitutes()

    def find_class(self, module: str, name: str) -> object:
        substitute = self._substitutes.get(f"{module}.{name}")
        if substitute is None:
            raise DataError(
                f"{self._path} asks for {module}.{name}, which a list of photos does not need. It was refused, and "
                "nothing was executed. Expected plain lists and arrays: fetch the file from its publisher."
            )
        return substitute


def built_by_arrays() -> list[type]:
    """The types that those calls return and that a pickle then gives a state."""
    return [_Kind, _Array]


class _Substitute:
    """The function that a name in a pickle resolves to. A pickle can call it, but cannot change it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a name has no state")


class _Kind:
    """Stands for a NumPy dtype while a pickle is read; the byte order arrives as its state."""

    __slots__ = ("dtype",)

    def __init__(self, name: object, *flags: object) -> None:
        text = _bytes(name).decode("latin1")
        if not KINDS.fullmatch(text):
            raise pickle.UnpicklingError(f"arrays of {text} are not plain")
        self.dtype: np.dtype[Any] = np.dtype(text)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order = _bytes(state[1]).decode("latin1")
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("no byte order")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that a pickle creates empty and fills through its state; only bytes of plain kinds are accepted."""

    def __setstate__(self, state: tuple[object, ...]) -> None:
        shape, kind, is_fortran, content = state[-4:]
        super().__setstate__((1, shape, _dtype(kind), bool(is_fortran), _bytes(content)))  # type: ignore[arg-type]


def array_substitutes() -> dict[str, Callable[..., object]]:
    """What a pickle of NumPy arrays and scalars refers to, by the names that Python 2 and 3, and NumPy 1 and 2, use."""
    reconstruct, scalar, from_buffer = _Substitute(_empty_array), _Substitute(_scalar), _Substitute(_array_of)
    substitutes: dict[str, Callable[..., object]] = {
        "numpy.ndarray": _Substitute(_refuse),
        "numpy.dtype": _Substitute(_Kind),
        "_codecs.encode": _Substitute(_encode),
        "__builtin__.bytes": _Substitute(_no_bytes),
        "builtins.bytes": _Substitute(_no_bytes),
    }
    for core in ("numpy.core", "numpy._core"):
        substitutes[f"{core}.multiarray._reconstruct"] = reconstruct
        substitutes[f"{core}.multiarray.scalar"] = scalar
        substitutes[f"{core}.numeric._frombuffer"] = from_buffer
    return substitutes


def _refuse(*arguments: object) -> object:
    """A pickle names the type of arrays, but never calls it."""
    raise pickle.UnpicklingError("arrays are made in one way only")


def _empty_array(kind: object, shape: object, letter: object) -> _Array:
    return _Array(0, dtype=np.int8)


def _array_of(content: object, kind: object, shape: tuple[int, ...], order: object) -> NDArray[Any]:
    if order not in ("C", "F"):
        raise pickle.UnpicklingError("no order of rows and columns")
    return np.frombuffer(_bytes(content), _dtype(kind)).reshape(shape, order=order)


def _scalar(kind: object, content: object) -> object:
    (value,) = np.frombuffer(_bytes(content), _dtype(kind))
    return value


def _encode(text: object, encoding: object) -> bytes:
    """The form in which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("bytes are written as latin-1")
    return _bytes(text)


def _no_bytes() -> bytes:
    return b""


def _bytes(content: object) -> bytes:
    if isinstance(content, str):
        return content.encode("latin1")
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise pickle.UnpicklingError("expected bytes")


def _dtype(kind: object) -> np.dtype[Any]:
    if not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("expected a kind of numbers")
    return kind.dtype
