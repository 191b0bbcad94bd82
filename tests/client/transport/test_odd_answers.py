"""Whatever bytes a server answers with, a client raises an AskewError with a sentence, or understands them."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askew_client import Client
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError, Overloaded, ProblemError
from askew_client.transport.requests import retry_policy
from askew_client.transport.retry_after import LONGEST, seconds_of

SPACE = "sp1-" + "0" * 32
PROBLEM = {"type": "/problems/overloaded", "title": "T", "status": 429, "detail": "What came, and what to do."}


@dataclass
class RawServer:
    """Answers each connection with the same bytes, and closes it."""

    url: str = ""
    answer: bytes = b""


@contextmanager
def raw_server() -> Iterator[RawServer]:
    script = RawServer()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        script.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        request = b""
                        while b"\r\n\r\n" not in request and (more := connection.recv(65536)):
                            request += more
                        connection.sendall(script.answer)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(1)
                        while connection.recv(65536):
                            pass
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield script
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture(scope="module")
def raw() -> Iterator[RawServer]:
    with raw_server() as script:
        yield script


def response(status: str, headers: dict[str, bytes], body: bytes, length: int | None = None) -> bytes:
    sized = {"Content-Length": str(len(body) if length is None else length).encode()}
    lines = [name.encode() + b": " + value for name, value in {**sized, **headers}.items()]
    return b"HTTP/1.1 " + status.encode() + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body


def assert_told(call: Callable[[], object]) -> AskewError | None:
    """Call; whatever comes is understood, or is an AskewError with a sentence."""
    try:
        call()
    except AskewError as error:
        assert str(error).strip()
        assert len(str(error)) < 3000
        return error
    return None


@pytest.mark.parametrize(
    "status", [*range(200, 210), 226, *range(300, 311), 399, 400, 404, 418, 451, 499, 500, 599, 600, 999]
)
@pytest.mark.parametrize("headers", [{}, {"Location": b"/x"}, {"Location": b""}, {"Location": b"\xff\xfe"}])
def test_every_status(raw: RawServer, connect: Callable[..., Client], status: int, headers: dict[str, bytes]) -> None:
    raw.answer = response(f"{status} Odd", headers, b"" if status in {204, 304} else b"<html>")
    client = connect(raw.url, retries=0)
    error = assert_told(client.galleries)
    assert error is not None
    if status >= 300:
        assert isinstance(error, ProblemError)
        assert (error.status, str(status) in str(error)) == (status, True)


RETRY_AFTERS = [
    "Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 +2359", "-1", "-99999999999999", "9" * 400, "1e9", "inf",
    "nan", "soon", "", " ", ",", "Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 99 Dec 2020 23:59:59 GMT", "0", "007", "1.5", "٣",
    "Fri, 31 Dec 2020 99:99:99 GMT", "Fri, 31 Dec 2020 23:59:59 +99999999999999", "Wed, 21 Oct 2015 07:28:00", "1, 2",
    "Wed, 21 Oct 2015 07:28:00 -0000", "Thu, 01 Jan 1970 00:00:00 GMT", "2020-01-01T00:00:00Z", "1 s", "\x00", "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", RETRY_AFTERS)
def test_every_form_of_retry_after(raw: RawServer, connect: Callable[..., Client], text: str) -> None:
    seconds = seconds_of(text)
    assert seconds is None or 0 <= seconds <= LONGEST
    policy = retry_policy(1, repeatable=True)
    assert 0 <= policy._calculate_sleep({"Retry-After": text}) <= 20
    if "\x00" in text:
        return
    raw.answer = response("429 Busy", {"Retry-After": text.encode()}, json.dumps(PROBLEM).encode())
    error = assert_told(connect(raw.url, retries=0).galleries)
    assert isinstance(error, Overloaded)
    if text.isascii():
        assert error.retry_after == seconds or (seconds and error.retry_after == pytest.approx(seconds, abs=30))


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=60)
    | st.datetimes().map(lambda each: each.strftime("%a, %d %b %Y %H:%M:%S +2359"))
    | st.integers().map(str)
)
def test_any_text_as_retry_after(text: str) -> None:
    seconds = seconds_of(text)
    assert seconds is None or 0 <= seconds <= LONGEST


BODIES = [
    b"", b"null", b"[]", b"{}", b"0", b'"x"', b"true", b"\xff\xfe", b"\x00", b"{", b'{"hits": null}', b"[" * 100_000,
    b'{"a":' * 5_000, b"1" * 5_000, b'{"galleries": [{}], "default_gallery": "x"}', b'{"galleries": 1e999}', b"NaN",
    b'{"type": 3}', b'{"type": "\\ud800", "title": "", "status": 429, "detail": ""}', b"\xef\xbb\xbf{}",
    b'{"type": "about:blank", "title": "", "status": 99999999999999999999999, "detail": ""}',
    b'{"type": "/problems/unauthorised", "title": "x", "status": 200, "detail": "\\u001b[31mred"}',
    b'{"type": "/problems/space-mismatch", "title": "x", "status": "409", "detail": "x", "status ": {}}',
    json.dumps({**PROBLEM, "status": -1}).encode(), json.dumps({**PROBLEM, "detail": "   "}).encode(),
    json.dumps({**PROBLEM, "model_extra": 3, "extras": 4, "slug": 5}).encode(), gzip.compress(b"{}"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BODIES)))
@pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 409, 429, 500, 503])
def test_every_body(raw: RawServer, status: int, number: int) -> None:
    raw.answer = response(f"{status} X", {"Content-Type": b"application/json"}, BODIES[number])
    with Client(raw.url, retries=0, timeout=5) as client:
        error = assert_told(client.galleries)
    assert error is not None
    if isinstance(error, ProblemError):
        assert error.status == status  # What the transport says, whatever the body claims.


WHOLE = response("200 OK", {"Content-Type": b"application/json"}, b'{"galleries": [], "default_gallery": "x"}')
RAW = [
    b"", b"\r\n", b"HTTP", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02\x16",
    b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 99 OK\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\n\r\n" + WHOLE, b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nX: \xff\x80\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: what\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n",
    response("200 OK", {"Content-Encoding": b"gzip"}, b"not gzip"), response("200 OK", {"Content-Encoding": b"deflate"}, b"x"),
    response("200 OK", {"Content-Encoding": b"gzip"}, gzip.compress(b"{}")[:-9]), response("200 OK", {"Content-Encoding": b"zz"}, b"x"),
    response("200 OK", {}, b"{}", length=100), response("200 OK", {}, b"{}", length=1), response("200 OK", {"Content-Type": b"\xff"}, b""),
    response("500 \xc3\xa9", {"Content-Type": b"text/html; charset=nonsense"}, b"\xff"), WHOLE + b"trailing",
    *[WHOLE[:cut] for cut in range(0, len(WHOLE), 7)],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(RAW)))
def test_every_wire(raw: RawServer, connect: Callable[..., Client], number: int, tmp_path: Path) -> None:
    raw.answer = RAW[number]
    client = connect(raw.url, retries=0, timeout=5)
    calls: list[Callable[[], Any]] = [
        client.galleries,
        client.metrics,
        lambda: client.photo("a", gallery="g"),
        lambda: client.download_encoder("s@1", tmp_path / "s.onnx"),
    ]
    for call in calls:
        assert_told(call)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": b"bytes " + b"9" * 5000 + b"-"},
        {"Content-Range": b"bytes 5-"},
        {"Content-Range": b"\xff"},
        {"Content-Range": "bytes ٣-".encode()},
        {"ETag": b'"\xc3\xa9"'},
        {"ETag": b'"\xff"'},
        {"ETag": b'"'},
        {"ETag": b'W/"x"'},
        {"ETag": b'"' + b"x" * 5000 + b'"'},
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "206 Partial"])
def test_odd_headers_of_a_download(
    raw: RawServer, connect: Callable[..., Client], tmp_path: Path, status: str, headers: dict[str, bytes]
) -> None:
    # The body is cut, so that the client asks for the rest by what the headers say.
    raw.answer = response(status, headers, b"abc", length=9)
    client = connect(raw.url, retries=1, timeout=5)
    for call in (
        lambda: client.download_encoder("s@1", tmp_path / "file"),
        lambda: client.download_snapshot("n", tmp_path / "file", gallery="g"),
        lambda: client.download_offline_pack(tmp_path / "file", gallery="g"),
    ):
        assert assert_told(call) is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_answers(raw: RawServer, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(ProblemKind))
    whole = data.draw(
        st.sampled_from(
            [
                WHOLE,
                response(
                    f"{kind.status} X", {"Retry-After": b"3"}, json.dumps({**PROBLEM, "status": kind.status}).encode()
                ),
            ]
        )
    )
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, max(0, len(changed) - 1)))
        changed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    raw.answer = bytes(changed)
    with Client(raw.url, retries=0, timeout=5) as client:
        assert_told(client.galleries)
