"""Paths that name a field of a payload: keys joined by dots, such as `place.city`, from the outermost object inwards.

A key that holds a dot, a quote, a bracket or a control character, and an empty key, is written as a JSON string:
`"a.b".c` is the key `c` within the key `a.b`. In other keys a backslash stands for itself.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from askew_client.contract.common import MAX_PAYLOAD_LEVELS

MAX_PATH_LENGTH = 16_384
"""Characters of a path. Servers remember paths that they have read."""

_PLAIN = re.compile(r"[^\x00-\x1f\".\[\]]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


@lru_cache(maxsize=1_024)
def keys_of(field: str) -> tuple[str, ...]:
    """The keys of a path, outermost first. Raises ValueError for a text that is not a path."""
    if len(field) > MAX_PATH_LENGTH:
        raise ValueError(f"more than {MAX_PATH_LENGTH} characters")
    keys: list[str] = []
    place = 0
    while True:
        quoted = _QUOTED.match(field, place)
        match = quoted or _PLAIN.match(field, place)
        if match is None:
            raise ValueError(f"no key at character {place}")
        keys.append(json.loads(match.group()) if quoted else match.group())
        place = match.end()
        if place == len(field):
            break
        if field[place] != ".":
            raise ValueError(f"no dot at character {place}")
        place += 1
    if len(keys) > MAX_PAYLOAD_LEVELS:
        raise ValueError(f"more than {MAX_PAYLOAD_LEVELS} keys")
    return tuple(keys)


def field_path(*keys: str) -> str:
    """The path of these keys, outermost first: `field_path("a.b", "c")` is `"a.b".c`."""
    return ".".join(key if _PLAIN.fullmatch(key) else json.dumps(key) for key in keys)


def _checked_path(field: str) -> str:
    try:
        keys_of(field)
    except ValueError as error:
        raise PydanticCustomError(
            "field_path",
            "expected a field: up to {levels} keys joined by dots, such as place.city, where a key with a dot, quote, "
            'bracket or control character is a JSON string, such as "a.b".c; got {got} ({reason})',
            {"levels": MAX_PAYLOAD_LEVELS, "got": repr(field[:80]), "reason": str(error)[:120]},
        ) from None
    return field


FieldPath = Annotated[str, AfterValidator(_checked_path)]

UnknownFields = Annotated[list[str], Field(exclude_if=lambda fields: not fields)]
"""Paths that a request named and no item of the gallery has; an answer leaves the member out if there are none."""
