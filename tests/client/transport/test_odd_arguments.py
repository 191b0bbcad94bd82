"""Odd arguments of the client: NumPy's numbers are taken for Python's, and what cannot be used is refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from askew_client import Client
from askew_client.errors import ClientMisused, ServerUnreachable
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8], dtype=np.float32)
HITS: dict[str, object] = {"hits": [], "space": SPACE, "gallery": "g", "encoder": None, "index": "exact", "exact": True}


@pytest.mark.parametrize(
    "number", [np.int64(3), np.uint8(3), np.array(3)], ids=lambda each: f"{type(each).__name__} {each.dtype}"
)
def test_numpys_numbers_are_numbers(server: ScriptedServer, connect: Callable[..., Client], number: Any) -> None:
    server.answer(HITS)
    wanted: Any = {"field": "year", "in": [number, np.float32(0.5), np.bool_(True)]}
    connect(server.url).search(VECTOR, space=SPACE, limit=number, filter=wanted)
    (sent,) = server.requests
    query = parse_qs(urlsplit(sent.path).query)
    assert query["limit"] == ["3"]
    assert json.loads(query["filter"][0]) == {"field": "year", "in": [3, 0.5, True]}


@pytest.mark.parametrize("how", ["vectors", "photo", "photos"])
def test_payloads_may_hold_numpys_numbers_and_arrays(
    server: ScriptedServer, connect: Callable[..., Client], how: str
) -> None:
    server.answer({"type": "about:blank", "title": "no", "status": 422, "detail": "no"}, status=422)
    payload: Any = {"year": np.int64(1900), "sizes": np.array([1.5, 2.0])}
    photo = b"\xff\xd8\xff" + bytes(40)
    client = connect(server.url, retries=0)
    calls: dict[str, Callable[[], object]] = {
        "vectors": lambda: client.upsert(["a"], VECTOR[None], [payload], gallery="g", space=SPACE),
        "photo": lambda: client.upsert_photo("a", photo, gallery="g", payload=payload),
        "photos": lambda: client.upsert_photos({"a": photo}, {"a": payload}, gallery="g"),
    }
    with pytest.raises(Exception, match="no"):
        calls[how]()
    assert b'{"year":1900,"sizes":[1.5,2.0]}' in server.requests[0].body


def test_what_json_cannot_hold_is_named(server: ScriptedServer, connect: Callable[..., Client]) -> None:
    with pytest.raises(TypeError, match=r"Expected what JSON can hold.*got object"):
        connect(server.url).upsert_items(
            [("a", VECTOR, {"x": object()})],  # type: ignore[dict-item]
            gallery="g",
            space=SPACE,
        )
    assert server.requests == []


@pytest.mark.parametrize("key", ["  ", "\n", "a b", "ü", "a\nb", b"ask_1", 5])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    with pytest.raises(ClientMisused, match="Expected an API key such as"):
        Client("http://127.0.0.1:1", key=key)


@pytest.mark.parametrize(
    "url", ["http://a..b", f"http://{'x' * 70}.example", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://[::1"]
)
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ServerUnreachable, match="Expected the address of a server such as"):
        Client(url)


def test_an_empty_name_is_refused_before_it_is_sent(server: ScriptedServer, connect: Callable[..., Client]) -> None:
    client = connect(server.url)
    for call in (
        lambda: client.gallery(""),
        lambda: client.item("", gallery="g"),
        lambda: client.search(VECTOR, space=SPACE, gallery=""),
    ):
        with pytest.raises(ClientMisused, match="got an empty text"):
            call()
    assert server.requests == []
