"""What the text in the columns of a CSV becomes in a payload.

| type | text | becomes |
|---|---|---|
| `text` | any | the text |
| `int` | `2021`, `-3` | a whole number, up to 64 bits |
| `float` | `4.5`, `1e3` | a number |
| `bool` | `true`, `false`, `yes`, `no`, `1`, `0`, in any case | true or false |
| `date` | ISO 8601: `2021-07`, `2021-07-09`, `2021-07-09T12:30:00Z` | the text, checked |
| `list` | `sea; sun`, or a JSON list | a list of texts, or the JSON list |
| `json` | any JSON | its value |
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pydantic import JsonValue
from pydantic_core import from_json

from askew_client.errors import AskewError

AUTO = "auto"
LIST_SEPARATOR = ";"
_LARGEST = 2**63

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ZEROS_FIRST = re.compile(r"[+-]?0[0-9]")
_MONTH = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2]))?")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _whole(text: str) -> JsonValue:
    number = int(text) if _WHOLE.fullmatch(text) else _LARGEST
    if not -_LARGEST <= number < _LARGEST:
        raise ValueError("expected a whole number of 64 bits")
    return number


def _number(text: str) -> JsonValue:
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError("expected a number such as 4.5")
    return number


def _truth(text: str) -> JsonValue:
    if text.lower() not in _WORDS:
        raise ValueError(f"expected one of {', '.join(_WORDS)}")
    return _WORDS[text.lower()]


def _date(text: str) -> JsonValue:
    try:
        if not _MONTH.fullmatch(text):
            datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date as ISO 8601, such as 2021-07-09") from None
    return text


def _list(text: str) -> JsonValue:
    if not text.startswith("["):
        return [part.strip() for part in text.split(LIST_SEPARATOR) if part.strip()]
    value = _json(text)
    if not isinstance(value, list):
        raise ValueError("expected a list")
    return value


def _json(text: str) -> JsonValue:
    value: JsonValue = from_json(text, allow_inf_nan=False)
    return value


_READERS: dict[str, Callable[[str], JsonValue]] = {
    "text": lambda text: text,
    "int": _whole,
    "float": _number,
    "bool": _truth,
    "date": _date,
    "list": _list,
    "json": _json,
}


def read_types(options: Sequence[str]) -> dict[str, str]:
    """The type of each column, from texts such as `year:int,price:float`; `auto` is the type of the column "".

    Raises AskewError for a type that there is not, and for a column that is named twice.
    """
    types: dict[str, str] = {}
    for part in (part.strip() for option in options for part in option.split(",")):
        column, _, kind = part.rpartition(":")
        if part == AUTO:
            column, kind = "", AUTO
        elif not column or kind not in _READERS:
            raise AskewError(
                f"Expected --payload-types as {AUTO} or COLUMN:TYPE, with a type of {', '.join(_READERS)}, got {part[:80]!r}. "
                "Such as: year:int,price:float"
            )
        if types.get(column, kind) != kind:
            raise AskewError(f"--payload-types gives the column {column!r} two types. Give one.")
        types[column] = kind
    return types


def choose_type(texts: Iterable[str]) -> str:
    """The type that all texts of a column fit, "text" if there is no other: `int`, `float`, `bool` or `list`.

    Numbers with leading zeros (postcodes) are text, and so are dates: ISO 8601 sorts as text. `1` and `0` are numbers.
    """
    found = [text.strip() for text in texts]
    if not found:
        return "text"
    for kind in ("int", "float"):
        if all(_fits(kind, text) and not _ZEROS_FIRST.match(text) for text in found):
            return kind
    if all(text.lower() in {"true", "false"} for text in found):
        return "bool"
    return "list" if all(text.startswith("[") and _fits("list", text) for text in found) else "text"


def read_value(kind: str, text: str) -> JsonValue:
    """The value of a text as a type. Raises ValueError that says what was expected."""
    return text if kind == "text" else _READERS[kind](text.strip())


def _fits(kind: str, text: str) -> bool:
    try:
        read_value(kind, text)
    except ValueError:
        return False
    return True
