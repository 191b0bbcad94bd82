"""Read the pickles of published photo lists: plain values and arrays of numbers; nothing in them is executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError

MOST_BYTES = 2**28
"""Fifty times the size of the largest list that was published."""
KINDS = re.compile(r"b1|[iu][1248]|f[248]|[SU][0-9]{1,4}")
"""Booleans, integers, floats and texts of a fixed length; no objects, whose bytes would be addresses."""

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
"""What the standard library's reader raises on bytes that are no whole pickle."""


def read_pickle(path: Path) -> object:
    """Read a pickle of lists, tuples, dicts, numbers, texts, bytes and NumPy arrays or scalars of plain kinds.

    Those of Python 2 and 3, NumPy 1 and 2, protocols 0 to 5 are understood; texts of Python 2 are taken as latin-1.
    Of all that a pickle may name, only what stands for an array is answered, and by functions of this module: NumPy's
    own take any layout of memory that a pickle describes. Raises DataError for anything else, before it is called.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES / 1e6:.0f} MB. Expected a pickled list of photos.")
        with path.open("rb") as stream:
            return _PlainUnpickler(stream, path).load()
    except OSError as error:
        raise DataError(f"Expected a pickle, but {path} cannot be read: {error.strerror}.") from None
    except DAMAGED:
        raise DataError(f"{path} is no whole pickle of plain lists and arrays. Fetch it anew.") from None


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self._path = path
        self._answers = _answers()

    def find_class(self, module: str, name: str) -> object:
        answer = self._answers.get(f"{module}.{name}")
        if answer is None:
            raise DataError(
                f"{self._path} asks for {module}.{name}, which no list of photos needs. It was refused, and nothing "
                "was executed. Expected plain lists and arrays: fetch the file from its publisher."
            )
        return answer


class _Answer:
    """What a name in a pickle stands for. A pickle can call it, and change nothing about it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a name has no state")


class _Kind:
    """What stands for a NumPy dtype while a pickle is read; its byte order comes as its state."""

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
    """An array that a pickle made empty, and fills by its state; only bytes of plain kinds come in."""

    def __setstate__(self, state: tuple[object, ...]) -> None:
        shape, kind, is_fortran, content = state[-4:]
        super().__setstate__((1, shape, _dtype(kind), bool(is_fortran), _bytes(content)))  # type: ignore[arg-type]


def _answers() -> dict[str, _Answer]:
    """By the names of Python 2 and 3, and of NumPy 1 and 2."""
    reconstruct, scalar, from_buffer = _Answer(_empty_array), _Answer(_scalar), _Answer(_array_of)
    answers = {
        "numpy.ndarray": _Answer(_refused),
        "numpy.dtype": _Answer(_Kind),
        "_codecs.encode": _Answer(_encoded),
        "__builtin__.bytes": _Answer(_no_bytes),
        "builtins.bytes": _Answer(_no_bytes),
    }
    for core in ("numpy.core", "numpy._core"):
        answers[f"{core}.multiarray._reconstruct"] = reconstruct
        answers[f"{core}.multiarray.scalar"] = scalar
        answers[f"{core}.numeric._frombuffer"] = from_buffer
    return answers


def _refused(*arguments: object) -> object:
    """The type of arrays is named in a pickle, and never called."""
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


def _encoded(text: object, encoding: object) -> bytes:
    """How Python 3 writes bytes for Python 2 to read."""
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
