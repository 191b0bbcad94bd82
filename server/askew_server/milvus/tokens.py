"""What payloads hold, as tokens that Milvus can look up: a filter means the same there as in SQLite.

Milvus compares JSON in its own way: null is a missing field there, integers beyond 2^53 are rounded, true may equal 1, and a
condition on a list differs from one on a value. So an item carries, besides its payload as text, a token for each fact
that a condition may ask for: that a path exists, which type is there, and each value. Equal values give equal tokens,
by the rules of storage/filtering/predicates.py. A token is a digest, so that the length of a text does not matter.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from askew_client.contract.filters.conditions import Scalar
from askew_server.storage.filtering.predicates import TYPE_NAMES

TOKEN_LENGTH = 20
"""Characters: 120 bits, so that two facts do not meet by chance."""

Keys = Sequence[str]


def exists_token(keys: Keys) -> str:
    """There is a value at this path, if only null."""
    return _token("exists", keys, "")


def type_token(keys: Keys, name: str) -> str:
    """The value at this path, or an element of the list there, is of this type: number, text or boolean."""
    return _token("type", keys, name)


def value_token(keys: Keys, value: Scalar) -> str:
    """The value at this path, or an element of the list there, is this one."""
    return _token(TYPE_NAMES[type(value)], keys, _canonical(value))


def payload_tokens(payload: Any) -> list[str]:
    """The tokens of a payload, each once, sorted."""
    return sorted(set(_tokens((), payload)))


def _tokens(keys: tuple[str, ...], value: Any) -> Iterator[str]:
    if keys:
        yield exists_token(keys)
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _tokens((*keys, key), child)
        return
    for each in value if isinstance(value, list) else [value]:
        if type(each) in TYPE_NAMES:
            yield type_token(keys, TYPE_NAMES[type(each)])
            yield value_token(keys, each)


def _canonical(value: Scalar) -> str:
    """The same text for equal numbers, and for no others."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def _token(kind: str, keys: Keys, value: str) -> str:
    text = json.dumps([kind, list(keys), value], separators=(",", ":"))
    # ASCII with \u escapes: a surrogate that stands alone in JSON has no UTF-8.
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:15]).decode()
