"""Which calls are sent again: what would not be the same twice is sent once, unless it certainly never began."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from askew_client import Client
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError, ServerUnreachable
from askew_client.transport import requests
from tests.client.calls.test_calls import CALLS
from tests.support.scripted_server import ScriptedServer

RETRIES = 2
NOT_REPEATABLE = {
    "allow_offline_pack",
    "cancel_job",
    "change_teacher",
    "create_key",
    "create_snapshot",
    "delete_items",
    "make_offline_pack",
    "promote",
    "rebuild_index",
    "redescribe",
    "restore",
    "restore_file",
    "upsert_photos",
    "verify_snapshot",
}
"""Calls that start a job, make a secret, or count what they did."""
DOWNLOADS = {"download_encoder", "download_offline_pack", "download_snapshot"}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_FIRST_WAIT", 0.001)


@pytest.fixture
def silent() -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads each request to its end and closes the connection without an answer; and those requests."""
    seen: list[bytes] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    seen.append(_whole_request(connection))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _whole_request(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        head, length = b"", 0
        while (line := stream.readline()).strip():
            head += line
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return head + stream.read(length)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("called", "call"), [each[:2] for each in CALLS], ids=lambda each: each if isinstance(each, str) else ""
)
def test_after_a_lost_answer_only_repeatable_calls_are_sent_again(
    silent: tuple[str, list[bytes]], connect: Callable[..., Client], called: str, call: Callable[[Any], Any]
) -> None:
    url, seen = silent
    advice = "may have done what was asked" if called in NOT_REPEATABLE else "Try again"
    with pytest.raises(ServerUnreachable, match=advice):
        call(connect(url, retries=RETRIES))
    assert len(seen) == (1 if called in NOT_REPEATABLE else RETRIES + 1)


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize(
    ("called", "call"), [each[:2] for each in CALLS], ids=lambda each: each if isinstance(each, str) else ""
)
def test_after_a_status_that_may_mean_begun_work_only_repeatable_calls_are_sent_again(
    server: ScriptedServer, called: str, call: Callable[[Any], Any], status: int
) -> None:
    if status == 429:
        server.problem(ProblemKind.OVERLOADED)
    else:
        server.answer(b"", status)
    with Client(server.url, retries=RETRIES) as client, pytest.raises(AskewError):
        call(client)
    once = called in NOT_REPEATABLE and status != 429
    assert len(server.requests) == (1 if once else RETRIES + 1)


@pytest.mark.slow
@pytest.mark.parametrize("called", ["create_key", "galleries"])
def test_a_connection_that_never_came_about_is_tried_again_by_all(connect: Callable[..., Client], called: str) -> None:
    call = next(each[1] for each in CALLS if each[0] == called)
    policy = requests.retry_policy(RETRIES, repeatable=called == "galleries")
    assert policy.is_retryable_exception(httpx.ConnectError(""))
    assert policy.is_retryable_exception(httpx.ReadError("")) is (called == "galleries")
    with pytest.raises(ServerUnreachable, match="No server answers"):
        call(connect("http://127.0.0.1:1", retries=RETRIES))


def test_every_call_is_decided() -> None:
    assert {name for name, *_ in CALLS} >= NOT_REPEATABLE | DOWNLOADS
