"""A call: a description of one request to a server and of the model of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel

from askew_client.contract.errors import ClientMisused

Answer = TypeVar("Answer", bound=BaseModel | bytes | str)

Params = tuple[tuple[str, str], ...]
"""The names and values of a query string, in order."""

JSON = {"Content-Type": "application/json"}
BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class StreamedBody:
    """A body that is read while it is sent. `length`: in bytes. `chunks`: starts a new pass over its pieces."""

    length: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request. `timeout`: seconds to wait for the answer, where the client's own timeout is too short.

    `repeats`: whether doing it twice is the same as doing it once; None: as HTTP has it, by the method: POST is not.
    """

    method: str
    path: str
    answer: type[Answer]
    params: Params = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | StreamedBody = b""
    timeout: float | None = None
    repeats: bool | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the call may be sent again when it is not known what became of it."""
        return self.method != "POST" if self.repeats is None else self.repeats


def json_body(value: Mapping[str, object]) -> bytes:
    """A JSON object as the body of a request, without the members that are None."""
    given = {name: member for name, member in value.items() if member is not None}
    return as_json(given).encode()


def as_json(value: object) -> str:
    """A value as JSON. Numbers and arrays of NumPy are taken for Python's. Raises TypeError for what JSON cannot hold."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"Expected what JSON can hold (text, numbers, lists, dicts, None), got {type(value).__name__}.")


def query_parameters(options: Mapping[str, object]) -> Params:
    """Options as query parameters: text as it is, a list as one parameter for each value, everything else as JSON.

    Options that are None are left out.
    """
    return tuple(
        (name, value if isinstance(value, str) else as_json(value))
        for name, values in options.items()
        for value in (values if isinstance(values, list) else [values])
        if value is not None
    )


def segment(text: str) -> str:
    """Any text as one segment of a path: `a/b` becomes `a%2Fb`. Raises ClientMisused for what can be no name."""
    if not text:
        raise ClientMisused("Expected the name of a gallery, item or encoder, got an empty text.")
    # `.` and `..` would mean this folder and its parent.
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def gallery_path(gallery: str | None) -> str:
    """The prefix of a gallery's paths; empty for searches in the default gallery."""
    return "" if gallery is None else f"/v1/galleries/{segment(gallery)}"
