"""Serving within limits: connections, time, TLS; and how a server starts and stops."""

from __future__ import annotations

import json
import select
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.settings import Settings
from tests.support.command_line import call_askew
from tests.support.in_process_server import in_process_server
from tests.support.problem_shape import assert_problem
from tests.support.raw_http import RawAnswer, connect, exchange, read_answer
from tests.support.running_server import RunningServer, start_askew

ITEMS = "/v1/galleries/objects/items"
KEEP_ALIVE_SECONDS = 3
MAX_CONNECTIONS = 8


@pytest.fixture(scope="module")
def impatient(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that waits for nothing longer than some seconds, and takes few connections, headers and bodies."""
    data = tmp_path_factory.mktemp("impatient") / "data"
    shutil.copytree(indexed / "data", data)
    environment = {
        "ASKEW_HEADER_SECONDS": "1",
        "ASKEW_RECEIVE_SECONDS": "1",
        "ASKEW_KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS),
        "ASKEW_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
        "ASKEW_MAX_HEADER_BYTES": "4096",
        "ASKEW_MAX_BODIES_BYTES": "1000000",
    }
    with RunningServer(data, "--gallery", "objects", environment=environment) as server:
        # Its connection would count for the limit.
        server.http.close()
        yield server


def _assert_problem(answer: RawAnswer, status: int, slug: str, *words: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert (problem["status"], problem["type"]) == (status, f"/problems/{slug}")
    assert problem["instance"] == answer.headers["x-request-id"]
    for word in words:
        assert word in problem["detail"]


# Slow senders


@pytest.mark.slow
def test_headers_that_drip_are_refused(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        began = time.monotonic()
        _assert_problem(read_answer(connection), 408, "request-timeout", "headers within 1 s")
        assert time.monotonic() - began > 0.5


@pytest.mark.slow
def test_a_connection_that_sends_nothing_is_closed(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_a_body_that_drips_is_refused(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        connection.sendall(b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(3):
            connection.sendall(b"x")
            time.sleep(0.2)
        _assert_problem(read_answer(connection), 408, "request-timeout", "3 bytes arrived")
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_a_large_body_may_take_longer_than_a_small_one(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        connection.sendall(b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nContent-Length: 60001\r\n\r\n" + b"x" * 60_000)
        time.sleep(2)
        connection.sendall(b"x")
        _assert_problem(read_answer(connection), 422, "not-an-encoder")


@pytest.mark.slow
def test_an_idle_connection_is_closed_and_one_in_use_is_not(impatient: RunningServer) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with closing(connect(impatient.url)) as connection:
        began = time.monotonic()
        while time.monotonic() - began < KEEP_ALIVE_SECONDS + 1:
            connection.sendall(request)
            assert read_answer(connection).status == 200
            time.sleep(0.3)
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_the_rest_of_a_refused_body_is_not_read_for_ever(impatient: RunningServer) -> None:
    head = b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 90000000\r\n\r\n"
    with closing(connect(impatient.url)) as connection:
        connection.sendall(head)
        _assert_problem(read_answer(connection), 415, "unsupported-media", "uncompressed")
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 60:
                connection.sendall(b"x" * 1000)
                time.sleep(0.05)


def test_a_gallery_that_does_not_answer_in_time_is_not_waited_for(data: Path, teacher: Encoder) -> None:
    queries = [{"vector": [1.0] + [0.0] * 63, "space": teacher.space_id}] * 1000
    with in_process_server(data, request_seconds=0.01) as http:
        answer = http.post("/search/batch", json={"queries": queries, "limit": 1000})
    assert_problem(answer, 503, "too-slow", "ask for less")
    assert answer.headers["retry-after"] == "5"


# Too much


def test_too_many_headers_and_endless_ones_are_refused(impatient: RunningServer) -> None:
    first = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    most = first + b"".join(b"x-%d: 1\r\n" % n for n in range(99)) + b"\r\n"
    assert exchange(impatient.url, most).status == 200
    for request in (
        first + b"".join(b"x-%d: 1\r\n" % n for n in range(5000)) + b"\r\n",
        first + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n",
        first + b"x" * 1_000_000,
        b"GET /" + b"x" * 1_000_000,
        first + b"x: " + b"y" * 5_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        _assert_problem(exchange(impatient.url, request), 431, "headers-too-large")


@pytest.mark.parametrize(
    "padding",
    [b"1;" + b"x" * 100_000, b"0\r\n" + b"x: y\r\n" * 20_000, b"0\r\nx: " + b"y" * 100_000],
    ids=["a chunk extension", "many trailers", "a long trailer"],
)
def test_bytes_outside_the_body_cannot_be_sent_for_ever(impatient: RunningServer, padding: bytes) -> None:
    head = b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with closing(connect(impatient.url)) as connection:
        connection.sendall(head)
        with ExitStack() as stack:
            stack.enter_context(pytest.raises((OSError, EOFError)))
            for start in range(0, len(padding), 2_000):
                connection.sendall(padding[start : start + 2_000])
                time.sleep(0.005)
            _assert_problem(read_answer(connection), 431, "headers-too-large")
            raise EOFError


def test_trailers_are_not_headers(impatient: RunningServer) -> None:
    def body(name: bytes) -> bytes:
        return b"0\r\n" + name + b": of-the-trailer\r\n\r\n"

    head = b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    # All in one packet: the trailer has arrived before the application reads the headers.
    answer = exchange(impatient.url, head + body(b"X-Request-Id"))
    assert answer.status == 422
    assert answer.headers["x-request-id"] != "of-the-trailer"
    # A second Host would be refused, and a key in a trailer would count as a wrong one.
    assert exchange(impatient.url, head + body(b"Host")).status == 422
    assert exchange(impatient.url, head + body(b"Authorization")).status == 422


def test_connections_beyond_the_limit_get_retry_after(impatient: RunningServer) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    wait_for_status(impatient.url, request, 200)
    # Requests whose bodies have not arrived yet: a connection that idles would be closed after some seconds.
    begun = b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 199_999
    with ExitStack() as stack:
        held = [stack.enter_context(closing(connect(impatient.url))) for _ in range(MAX_CONNECTIONS)]
        for connection in held:
            connection.sendall(begun)
        answer = wait_for_status(impatient.url, request, 429)
        _assert_problem(answer, 429, "overloaded", f"{MAX_CONNECTIONS} connections")
        assert answer.headers["retry-after"] == "1"
        held[0].sendall(b"x")
        assert read_answer(held[0]).status == 422
    wait_for_status(impatient.url, request, 200)


def wait_for_status(url: str, request: bytes, status: int) -> RawAnswer:
    """Repeat a request, each time on a new connection, until the server has noticed a change."""
    deadline = time.monotonic() + 60
    while (answer := exchange(url, request)).status != status:
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def test_bodies_together_are_limited(impatient: RunningServer) -> None:
    first = b"PUT /v1/galleries/objects/items HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head = first + b"Content-Length: 500000\r\n\r\n"
    with ExitStack() as stack:
        held = [stack.enter_context(closing(connect(impatient.url))) for _ in range(3)]
        for connection in held:
            connection.sendall(head + b"x" * 400_000)
        answered, _, _ = select.select(held, [], [], 60)
        _assert_problem(read_answer(answered[0]), 429, "overloaded", "bodies of all requests")
    body = b'{"items": "' + b"x" * 499_987 + b'"}'
    _assert_problem(wait_for_status(impatient.url, head + body, 422), 422, "validation")


def test_a_client_that_reads_no_answer_does_not_hold_the_server(impatient: RunningServer) -> None:
    request = b"GET /v1/encoders/teacher@1/file HTTP/1.1\r\nHost: a\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(closing(connect(impatient.url)))
            connection.sendall(request * 100)
        assert exchange(impatient.url, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200


@pytest.mark.slow
def test_a_flood_of_broken_requests_leaves_the_memory_as_it_was(impatient: RunningServer) -> None:
    process = psutil.Process(impatient.process.pid)

    def flood(count: int) -> None:
        for number in range(count):
            exchange(impatient.url, b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"%d" % (number % 10) * 100_000)

    def in_parallel(count: int) -> None:
        threads = [threading.Thread(target=flood, args=(count,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    in_parallel(30)
    before = process.memory_info().rss
    in_parallel(100)
    assert process.memory_info().rss - before < 30_000_000
    wait_for_status(impatient.url, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 200)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.mark.slow
def test_tls(tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    options = ("--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1]))
    with RunningServer(tmp_path / "data", *options) as server:
        assert server.url.startswith("https://")
        assert server.http.get("/healthz").json()["status"] == "ok"
        old = ssl.create_default_context(cafile=str(certificate[0]))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert httpx.get(f"{server.url}/healthz", verify=old).status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            httpx.get(f"{server.url.replace('https', 'http')}/healthz")
        made = call_askew("key", "create", "x", "--scope", "search", "--server", server.url)
        assert made.returncode == 0, made.stderr
        # An idle client does not answer the end of its TLS connection, and uvicorn waits ten seconds for that.
        server.http.close()


@pytest.mark.parametrize("given", ["key alone", "no file", "no certificate", "another key"])
def test_a_certificate_that_cannot_be_used_is_refused_at_start(
    tmp_path: Path, certificate: tuple[Path, Path], given: str
) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    other = tmp_path / "other.pem"
    if given == "another key":
        command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(other)]
        subprocess.run(command, check=True, capture_output=True)
    options = {
        "key alone": ("--tls-key", certificate[1]),
        "no file": ("--tls-certificate", tmp_path / "absent.pem"),
        "no certificate": ("--tls-certificate", text, "--tls-key", certificate[1]),
        "another key": ("--tls-certificate", certificate[0], "--tls-key", other),
    }[given]
    done = call_askew("serve", "--data", tmp_path / "data", "--port", "0", *options)
    assert done.returncode == 1
    assert "ertificate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


# Starting and stopping


@pytest.mark.slow
def test_the_first_line_means_that_clients_may_connect_and_clients_that_leave_are_not_logged(tmp_path: Path) -> None:
    serving = start_askew("serve", "--data", tmp_path, "--port", "0", stderr=subprocess.STDOUT)
    assert serving.stdout is not None
    host, _, port = json.loads(serving.stdout.readline())["url"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: askew\r\nConnection: close\r\n\r\n")
        assert client.recv(1_000).startswith(b"HTTP/1.1 200")
    url = f"http://{host}:{port}"
    wait_for_status(url, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 200)
    for _ in range(3):
        with closing(connect(url)) as connection:
            connection.sendall(b"PUT /v1/galleries/objects/items HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
            # The next request is answered after the server has read this one.
            wait_for_status(url, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 200)
    serving.terminate()
    output = serving.communicate(timeout=60)[0]
    assert "Finished server process" in output
    assert "Traceback" not in output


def _unit(seed: int) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.mark.slow
def test_acknowledged_writes_survive_sigterm_and_none_is_partial(data: Path, teacher: Encoder) -> None:
    """Four writers send batches when SIGTERM arrives. All items of a batch are stored, or none."""
    acknowledged: set[str] = set()
    size, enough = 10, threading.Event()
    server = RunningServer(data, "--gallery", "objects")

    def write(writer: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            for number in range(10_000):
                ids = [f"{writer}-{number}-{part}" for part in range(size)]
                items = [{"id": each, "vector": pack_base64(_unit(number)), "dtype": "f16le"} for each in ids]
                try:
                    answer = http.put(ITEMS, json={"space": teacher.space_id, "items": items})
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    assert answer.status_code == 503, answer.text
                    return
                acknowledged.update(ids)
                if len(acknowledged) > 200:
                    enough.set()

    with ThreadPoolExecutor(4) as writers:
        running = [writers.submit(write, writer) for writer in range(4)]
        assert enough.wait(120)
        output = server.stop()
        for each in running:
            each.result()
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in output
    with in_process_server(data) as again:
        stored = set(_ids(again))
    assert acknowledged <= stored
    assert len([each for each in stored if each[0].isdigit()]) % size == 0


def _ids(http: TestClient) -> Iterator[str]:
    cursor: dict[str, str] = {}
    while True:
        page = http.get(ITEMS, params={"limit": 1000, **cursor}).json()
        yield from (item["id"] for item in page["items"])
        if "next_cursor" not in page:
            return
        cursor = {"cursor": page["next_cursor"]}


def test_the_server_is_not_ready_before_its_galleries_are_open(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    load = Catalog.load

    def load_late(galleries: Catalog) -> None:
        assert opened.wait(60)
        load(galleries)

    monkeypatch.setattr(Catalog, "load", load_late)
    service = AppState(Settings(data=data, default_gallery="objects"), Catalog(data, owner="a test"))
    with TestClient(create_app(service)) as client:
        for path in ("/readyz", "/v1/galleries", "/v1/galleries/objects"):
            assert_problem(client.get(path), 503, "not-ready", "loading")
        assert client.get("/livez").json()["status"] == "loading"
        opened.set()
        deadline = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
        assert client.get("/v1/galleries/objects").status_code == 200
