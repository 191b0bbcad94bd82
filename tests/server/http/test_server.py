"""Serving within bounds: connections, time, TLS; and how a server goes."""

from __future__ import annotations

import json
import select
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
from starlette.testclient import TestClient

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.settings import Settings
from tests.support.problem_shape import assert_problem
from tests.support.raw_http import RawAnswer, connect, exchange, read_answer
from tests.support.running_server import ASKEW, RunningServer, run_askew

ITEMS = "/v1/galleries/objects/items"


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    """A server without galleries that waits for nothing longer than a second or two."""
    for name, value in {
        "HEADER_SECONDS": "1", "RECEIVE_SECONDS": "1", "KEEP_ALIVE_SECONDS": "2", "MAX_CONNECTIONS": "8",
        "MAX_HEADER_BYTES": "4096",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"ASKEW_{name}", value)
    with RunningServer(tmp_path / "data") as server:
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


def test_headers_that_drip_are_cut(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        began = time.monotonic()
        _assert_problem(read_answer(connection), 408, "request-timeout", "headers within 1 s")
        assert 0.5 < time.monotonic() - began < 5


def test_a_connection_that_says_nothing_is_closed(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        assert connection.recv(1) == b""


def test_a_body_that_drips_is_cut(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        connection.sendall(b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(3):
            connection.sendall(b"x")
            time.sleep(0.2)
        _assert_problem(read_answer(connection), 408, "request-timeout", "3 bytes arrived")
        assert connection.recv(1) == b""


def test_a_large_body_may_take_longer_than_a_small_one(impatient: RunningServer) -> None:
    with closing(connect(impatient.url)) as connection:
        connection.sendall(b"PUT /v1/galleries/x HTTP/1.1\r\nHost: a\r\nContent-Length: 60001\r\n\r\n" + b"x" * 60_000)
        time.sleep(2)
        connection.sendall(b"x")
        _assert_problem(read_answer(connection), 422, "not-an-encoder")


def test_an_idle_connection_is_closed_and_one_in_use_is_not(impatient: RunningServer) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with closing(connect(impatient.url)) as connection:
        for _ in range(5):
            connection.sendall(request)
            assert read_answer(connection).status == 200
            time.sleep(0.7)
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < 4


def test_the_rest_of_a_refused_body_is_not_read_for_ever(impatient: RunningServer) -> None:
    head = b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 90000000\r\n\r\n"
    with closing(connect(impatient.url)) as connection:
        connection.sendall(head)
        _assert_problem(read_answer(connection), 415, "unsupported-media", "uncompressed")
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 20:
                connection.sendall(b"x" * 1000)
                time.sleep(0.05)
        assert time.monotonic() - began < 12


def test_a_gallery_that_does_not_answer_in_time_is_not_waited_for(
    data: Path, monkeypatch: pytest.MonkeyPatch, teacher: Encoder
) -> None:
    monkeypatch.setenv("ASKEW_REQUEST_SECONDS", "0.01")
    queries = [{"vector": [1.0] + [0.0] * 63, "space": teacher.space_id}] * 1000
    with RunningServer(data, "--gallery", "objects") as server:
        answer = server.http.post("/search/batch", json={"queries": queries, "limit": 1000})
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
def test_what_is_no_body_may_not_be_sent_for_ever(impatient: RunningServer, padding: bytes) -> None:
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


def test_trailers_are_no_headers(tmp_path: Path) -> None:
    made = run_askew("key", "create", "x", "--scope", "admin", "--data", tmp_path)
    key = made.stdout.strip().encode()
    with RunningServer(tmp_path) as server:
        request = (
            b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            b"Authorization: Bearer " + key + b"\r\n\r\n"
        )
        _assert_problem(exchange(server.url, request), 401, "unauthorised")


def test_connections_beyond_the_bound_are_told_to_come_back(impatient: RunningServer) -> None:
    impatient.http.close()
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with ExitStack() as stack:
        held = [stack.enter_context(closing(connect(impatient.url))) for _ in range(8)]
        for connection in held:
            connection.sendall(request)
            assert read_answer(connection).status == 200
        answer = exchange(impatient.url, request)
        _assert_problem(answer, 429, "overloaded", "8 connections")
        assert answer.headers["retry-after"] == "1"
        held[0].sendall(request)
        assert read_answer(held[0]).status == 200
    deadline = time.monotonic() + 10
    while exchange(impatient.url, request).status != 200:
        assert time.monotonic() < deadline


def test_bodies_together_are_bounded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKEW_MAX_BODIES_BYTES", "1000000")
    first = b"PUT /v1/galleries/objects/items HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head = first + b"Content-Length: 500000\r\n\r\n"
    with RunningServer(data, "--gallery", "objects") as server, ExitStack() as stack:
        held = [stack.enter_context(closing(connect(server.url))) for _ in range(3)]
        for connection in held:
            connection.sendall(head + b"x" * 400_000)
        answered, _, _ = select.select(held, [], [], 10)
        _assert_problem(read_answer(answered[0]), 429, "overloaded", "bodies of all requests")
        for connection in held:
            connection.close()
        body = b'{"items": "' + b"x" * 499_987 + b'"}'
        deadline = time.monotonic() + 10
        while (answer := exchange(server.url, head + body)).status == 429:
            assert time.monotonic() < deadline
        _assert_problem(answer, 422, "validation")


def test_a_client_that_reads_no_answer_does_not_hold_the_server(server: RunningServer) -> None:
    request = b"GET /v1/encoders/teacher@1/file HTTP/1.1\r\nHost: a\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(closing(connect(server.url)))
            connection.sendall(request * 10)
        began = time.monotonic()
        assert server.http.get("/readyz").status_code == 200
        assert time.monotonic() - began < 5


def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing_in_the_log(data: Path) -> None:
    server = RunningServer(data)
    for _ in range(3):
        with closing(connect(server.url)) as connection:
            connection.sendall(b"PUT /v1/galleries/objects/items HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
            time.sleep(0.1)
    assert server.http.get("/readyz").status_code == 200
    assert "Traceback" not in server.stop()


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_who_reads_where_it_serves_may_connect_at_once(tmp_path: Path) -> None:
    command = [ASKEW, "serve", "--data", str(tmp_path / "data"), "--port", "0"]
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as serving:
            assert serving.stdout is not None
            host, _, port = serving.stdout.readline().rsplit("//", 1)[1].strip().partition(":")
            try:
                with socket.create_connection((host, int(port)), timeout=20) as client:
                    client.sendall(b"GET /livez HTTP/1.1\r\nHost: askew\r\nConnection: close\r\n\r\n")
                    assert client.recv(1_000).startswith(b"HTTP/1.1 200")
            finally:
                serving.kill()


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
        made = run_askew("key", "create", "x", "--scope", "search", "--server", server.url)
        assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("given", ["key alone", "no file", "no certificate", "another key"])
def test_a_certificate_that_cannot_be_used_is_refused_at_start(
    tmp_path: Path, certificate: tuple[Path, Path], given: str
) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    other = tmp_path / "other.pem"
    if given == "another key":
        subprocess.run(["openssl", "genrsa", "-out", str(other), "2048"], check=True, capture_output=True)
    options = {
        "key alone": ("--tls-key", certificate[1]),
        "no file": ("--tls-certificate", tmp_path / "absent.pem"),
        "no certificate": ("--tls-certificate", text, "--tls-key", certificate[1]),
        "another key": ("--tls-certificate", certificate[0], "--tls-key", other),
    }[given]
    done = run_askew("serve", "--data", tmp_path / "data", "--port", "0", *options)
    assert done.returncode == 1
    assert "ertificate" in done.stderr
    assert "Traceback" not in done.stderr


# Going


def _unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_what_was_acknowledged_before_sigterm_is_there_and_nothing_is_half_done(data: Path, teacher: Encoder) -> None:
    """Four writers are at it when SIGTERM comes: each item is acknowledged and there, or was never acknowledged."""
    acknowledged: set[str] = set()
    batches = 10
    server = RunningServer(data, "--gallery", "objects")

    def write(writer: int) -> None:
        with httpx.Client(base_url=server.url, timeout=30) as http:
            for number in range(10_000):
                ids = [f"{writer}-{number}-{part}" for part in range(batches)]
                items = [{"id": each, "vector": pack_base64(_unit(number)), "dtype": "f16le"} for each in ids]
                try:
                    answer = http.put(ITEMS, json={"space": teacher.space_id, "items": items})
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    assert answer.status_code == 503, answer.text
                    return
                acknowledged.update(ids)

    with ThreadPoolExecutor(4) as writers:
        running = [writers.submit(write, writer) for writer in range(4)]
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        output = server.stop()
        for each in running:
            each.result()
    assert server.process.returncode == -signal.SIGTERM or server.process.returncode == 0
    assert "Traceback" not in output
    assert len(acknowledged) > 40
    with RunningServer(data, "--gallery", "objects") as again:
        cursor: dict[str, str] = {}
        there: set[str] = set()
        while True:
            page = again.http.get(ITEMS, params={"limit": 1000, **cursor}).json()
            there |= {item["id"] for item in page["items"] if item["id"].count("-") == 2 and item["id"][0].isdigit()}
            if "next_cursor" not in page:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert acknowledged <= there
        assert len(there) % batches == 0


def test_while_it_drains_the_server_answers_but_is_not_ready(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKEW_DRAIN_SECONDS", "2")
    server = RunningServer(data, "--gallery", "objects")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    assert_problem(server.http.get("/readyz"), 503, "not-ready", "draining")
    assert server.http.get("/livez").status_code == 200
    assert server.http.get("/v1/galleries/objects").status_code == 200
    assert server.process.wait(timeout=20) in {0, -signal.SIGTERM}
    server.stop()


def test_the_server_is_not_ready_before_its_galleries_are_open(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    load = Catalog.load

    def load_late(galleries: Catalog) -> None:
        assert opened.wait(30)
        load(galleries)

    monkeypatch.setattr(Catalog, "load", load_late)
    service = AppState(Settings(data=data, default_gallery="objects"), Catalog(data, owner="a test"))
    with TestClient(create_app(service)) as client:
        for path in ("/readyz", "/v1/galleries", "/v1/galleries/objects"):
            assert_problem(client.get(path), 503, "not-ready", "loading")
        assert client.get("/livez").json()["status"] == "loading"
        opened.set()
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
        assert client.get("/v1/galleries/objects").status_code == 200


def test_a_flood_of_broken_requests_leaves_the_memory_as_it_was(server: RunningServer) -> None:
    process = psutil.Process(server.process.pid)

    def flood(count: int) -> None:
        for number in range(count):
            exchange(server.url, b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"%d" % (number % 10) * 100_000)

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
    assert server.http.get("/readyz").status_code == 200
