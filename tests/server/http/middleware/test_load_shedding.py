"""Many clients at once: right answers or a 429 that says when to come back, never a wrong answer or a failure."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from askew_client.contract.keys import CreateKeyRequest
from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from askew_server.auth.keys import KeyStore
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.settings import Settings
from tests.support.held_index import HeldIndex
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer


def _ask(url: str, requests: list[tuple[str, bytes]], headers: dict[str, str]) -> list[tuple[str, httpx.Response]]:
    with httpx.Client(base_url=url, timeout=30) as client:
        return [(name, client.post("/search?limit=1", content=body, headers=headers)) for name, body in requests]


def _requests(teacher: Encoder, indexed: Path) -> list[tuple[str, bytes]]:
    photos = sorted((indexed / "photos").iterdir())[:20]
    return [(photo.stem, pack(vector)) for photo, vector in zip(photos, teacher.encode(photos), strict=True)]


@pytest.mark.slow
def test_sixteen_clients_get_their_own_answers_while_items_change(
    server: RunningServer, teacher: Encoder, indexed: Path, headers: dict[str, str]
) -> None:
    requests = _requests(teacher, indexed)
    vector = np.eye(1, 64, dtype=np.float32)[0].tolist()
    with ThreadPoolExecutor(17) as clients:
        asked = [clients.submit(_ask, server.url, requests, headers) for _ in range(16)]
        items = "/v1/galleries/objects/items"
        for number in range(30):
            upsert = {"space": teacher.space_id, "items": [{"id": f"busy-{number}", "vector": vector}]}
            assert server.http.put(items, json=upsert).status_code == 200
            assert server.http.delete(f"{items}/busy-{number}").status_code == 200
        for answers in asked:
            assert [(name, answer.json()["hits"][0]["id"]) for name, answer in answers.result()] == [
                (name, name) for name, _ in requests
            ]


@pytest.mark.slow
def test_past_the_bound_requests_are_refused_with_retry_after(
    data: Path, teacher: Encoder, indexed: Path, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKEW_MAX_WAITING", "1")
    requests = _requests(teacher, indexed)
    with RunningServer(data, "--gallery", "objects") as running, ThreadPoolExecutor(16) as clients:
        asked = [clients.submit(_ask, running.url, requests, headers) for _ in range(16)]
        answers = [pair for future in asked for pair in future.result()]
        assert {answer.status_code for _, answer in answers} == {200, 429}
        for name, answer in answers:
            if answer.status_code == 200:
                assert answer.json()["hits"][0]["id"] == name
            else:
                assert_problem(answer, 429, "overloaded", "Try again")
                assert answer.headers["retry-after"] == "1"
        assert running.http.post("/search", content=requests[0][1], headers=headers).status_code == 200


class ServerHere:
    """The server in a thread of this process, so that a test can hold its gallery's index and count its searches."""

    def __init__(self, data: Path, max_waiting: int) -> None:
        settings = Settings(data=data, default_gallery="objects", max_waiting=max_waiting)
        catalog = Catalog(data, owner="a test", max_waiting=max_waiting, open_index=HeldIndex)
        self._state = AppState(settings, catalog)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(create_app(self._state), log_config=None))
        self._thread = threading.Thread(target=self._server.run, args=([listener],))

    def __enter__(self) -> ServerHere:
        self._thread.start()
        _wait_for(lambda: self._state.state == "ok")
        self.gallery = self._state.gallery(None)
        with self.gallery.awake() as index:
            assert isinstance(index, HeldIndex)
            self.index = index
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _raw_request(body: bytes, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /search HTTP/1.1\r\nHost: askew\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.slow
@pytest.mark.parametrize("form", ["raw", "json"])
def test_a_request_whose_client_has_gone_costs_no_search(
    data: Path, body: bytes, headers: dict[str, str], form: str
) -> None:
    if form == "json":
        asked = {"vector": b64encode(body).decode(), "dtype": "f16le", "space": headers["Askew-Space"]}
        body, headers = json.dumps(asked).encode(), {"Content-Type": "application/json"}
    with ServerHere(data, max_waiting=8) as server:
        with server.index.busy():
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(_raw_request(body, headers))
            _wait_for(lambda: server.gallery.waiting == 1)
            client.close()
            # The place is free while the index is still busy: a disconnected client blocks no other.
            _wait_for(lambda: server.gallery.waiting == 0)
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as staying:
            assert staying.post("/search", content=body, headers=headers).status_code == 200
        assert server.index.searched == 1
        metrics = _metrics(server.port)
        assert re.search(r'^askew_searches_total\{[^}]*outcome="client-has-gone"\} 1\.0$', metrics, re.MULTILINE)
        assert 'status="5' not in metrics and 'outcome="internal"' not in metrics


def _metrics(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics").text


@pytest.mark.slow
def test_the_queue_is_bounded_and_empties(data: Path, body: bytes, headers: dict[str, str]) -> None:
    with ServerHere(data, max_waiting=3) as server, ThreadPoolExecutor(3) as clients:
        url = f"http://127.0.0.1:{server.port}/search"
        with server.index.busy():
            waiting = [clients.submit(httpx.post, url, content=body, headers=headers, timeout=30) for _ in range(3)]
            _wait_for(lambda: server.gallery.waiting == 3)
            for path in ("/search", "/v1/galleries/objects/search"):
                # The second as a page of another site sends it, which is refused by the inner layers.
                for origin in ({}, {"Origin": f"http://127.0.0.1:{server.port}"}):
                    sent = {**headers, "X-Request-Id": "a-request", **origin}
                    refused = httpx.post(url.replace("/search", path), content=body, headers=sent)
                    assert_problem(refused, 429, "overloaded", "Try again")
                    assert refused.headers["retry-after"] == "1"
                    assert refused.headers["x-request-id"] == refused.json()["instance"] == "a-request"
                    assert "total;dur=" in refused.headers["server-timing"]
                assert f'route="{path.replace("objects", "{gallery}")}",status="429"}} 2.0' in _metrics(server.port)
            assert 'askew_searches_total{gallery="objects",outcome="overloaded"} 4.0' in _metrics(server.port)
            # Nothing is spent on what has no place: not even a look at its space.
            foreign = {**headers, "Askew-Space": "sp1-" + "0" * 32}
            assert_problem(httpx.post(url, content=body, headers=foreign), 429, "overloaded", "Try again")
            unknown = httpx.post(url.replace("/search", "/v1/galleries/nowhere/search"), content=body, headers=headers)
            assert_problem(unknown, 404, "unknown-gallery", "nowhere")
        assert [future.result().status_code for future in waiting] == [200, 200, 200]
        assert httpx.post(url, content=body, headers=headers).status_code == 200


@pytest.mark.slow
def test_only_who_may_search_a_gallery_learns_that_it_is_full(data: Path, body: bytes, headers: dict[str, str]) -> None:
    with closing(KeyStore(data)) as keys:
        ours, others = (
            keys.create(CreateKeyRequest(name=name, scopes=["search"], galleries=[name])).key
            for name in ("objects", "other")
        )
    with ServerHere(data, max_waiting=1) as server, ThreadPoolExecutor(1) as clients:
        url = f"http://127.0.0.1:{server.port}/search"
        allowed = {**headers, "api-key": ours}
        with server.index.busy():
            waiting = clients.submit(httpx.post, url, content=body, headers=allowed, timeout=60)
            _wait_for(lambda: server.gallery.waiting == 1)
            assert_problem(httpx.post(url, content=body, headers=allowed), 429, "overloaded")
            assert_problem(httpx.post(url, content=body, headers={**headers, "api-key": others}), 403, "forbidden")
            assert_problem(httpx.post(url, content=body, headers=headers), 401, "unauthorised")
        assert waiting.result().status_code == 200
