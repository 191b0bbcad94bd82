"""Attacks on a real server: no 500, no traceback, no file outside its folder, no secret in the log, and it lives."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from tests.soak import hostile_bodies
from tests.support.hostile_values import png
from tests.support.problem_shape import assert_problem
from tests.support.raw_http import connect, exchange, read_answer
from tests.support.running_server import RunningServer, run_askew

ITEMS = "/v1/galleries/objects/items"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def unharmed(server: RunningServer) -> Iterator[None]:
    """After each test, the server still runs, is ready, and has not grown."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    yield
    assert server.process.poll() is None
    assert server.http.get("/readyz").status_code == 200
    assert process.memory_info().rss - before < 150_000_000


@pytest.mark.slow
def test_hostile_bodies_on_every_decoder() -> None:
    report = hostile_bodies.run(count=25, seed=0)
    assert report.problems == []
    assert len(report.statuses) >= 14


# Paths


TRAVERSALS = [
    "..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..%2faskew.db", "..%5c..%5caskew.db", "%252e%252e%252f",
    "..%00", "objects%00", "%c0%ae%c0%ae", "....//", "/etc/passwd", "%2fetc%2fpasswd", "objects%2f..%2fobjects", ".", "%2e",
]  # fmt: skip
PLACES = [
    "/v1/galleries/{}", "/v1/galleries/{}/items", "/v1/galleries/{}/index", ITEMS + "/{}", ITEMS + "/{}/photo", ITEMS + "/{}/similar",
    "/v1/galleries/objects/snapshots/{}", "/v1/encoders/{}", "/v1/encoders/{}/file", "/v1/encoders/{}/manifest", "/v1/jobs/{}",
    "/problems/{}", "/page/{}", "/page/../{}", "/{}",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("segment", TRAVERSALS)
def test_no_path_leads_out_of_its_folder(server: RunningServer, segment: str) -> None:
    for place in PLACES:
        # As bytes: a client would clean the path up.
        path = place.format(segment).encode()
        answer = exchange(server.url, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status in {400, 404, 405, 422} or place.format(segment).strip("/.") in {"", "page"}, (
            path,
            answer,
        )
        assert b"root:" not in answer.body
        assert b"SQLite format" not in answer.body


@pytest.mark.slow
@pytest.mark.parametrize("segment", TRAVERSALS)
def test_nothing_is_written_or_deleted_outside_its_folder(
    server: RunningServer, segment: str, teacher: Encoder, photo: Path
) -> None:
    manifest = json.dumps({"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}).encode()
    snapshot = b'{"gallery": "objects", "snapshot": "../../../askew"}'
    space = teacher.space_id.encode()
    form = (
        b'--b\r\nContent-Disposition: form-data; name="photo"; filename="../../../../x.jpg"\r\n\r\n' + photo.read_bytes()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="vector"\r\n\r\n' + base64.b64encode(pack(np.eye(1, 64, dtype=np.float32)[0]))
        + b'\r\n--b\r\nContent-Disposition: form-data; name="dtype"\r\n\r\nf16le'
        + b'\r\n--b\r\nContent-Disposition: form-data; name="space"\r\n\r\n' + space + b"\r\n--b--\r\n"
    )  # fmt: skip
    name = segment.encode()
    calls = [
        (b"PUT /v1/galleries/" + name, b"application/json", manifest),
        (b"DELETE /v1/galleries/" + name, b"", b""),
        (b"PUT /v1/aliases/" + name, b"application/json", b'{"gallery": "objects"}'),
        (b"POST /v1/galleries/" + name + b"/restore", b"application/json", snapshot),
        (b"POST /v1/galleries/restored/restore", b"application/json", snapshot),
        (b"DELETE /v1/galleries/objects/snapshots/" + name, b"", b""),
        (b"POST /v1/galleries/objects/snapshots/" + name + b"/verify", b"", b""),
        (b"DELETE /v1/galleries/objects/encoders/" + name, b"", b""),
        (b"DELETE /v1/keys/" + name, b"", b""),
    ]
    for call, kind, body in calls:
        head = b" HTTP/1.1\r\nHost: a\r\nContent-Type: " + kind + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
        answer = exchange(server.url, call + head + body)
        assert answer.status in {400, 404, 405, 409, 422}, (call, answer)
    item = ITEMS.encode() + b"/" + name + b" HTTP/1.1\r\nHost: a\r\n"
    head = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(form)
    stored = exchange(server.url, b"PUT " + item + head + form)
    assert stored.status in {200, 400, 404, 405, 422}, stored
    data = server.data
    assert {path.name for path in data.iterdir()} <= KNOWN_IN_DATA
    assert {path.name for path in (data / "galleries").glob("[!.]*")} == {"objects"}
    assert {path.name for path in data.parent.iterdir()} == {"data"}
    if stored.status == 200:
        # As an id it is a text like any other.
        assert exchange(server.url, b"DELETE " + item + b"\r\n").status == 200


KNOWN_IN_DATA = {"askew.db", "askew.db-shm", "askew.db-wal", "galleries", "jobs", "lock", "owner.json", "record"}


# Bombs


@pytest.mark.slow
def test_a_picture_of_900_megapixels_in_4_kb_is_refused_before_it_is_decoded(server: RunningServer) -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    content = png(header, bytes(4_000_000))
    for path in ("/search/photo", None):
        began = time.monotonic()
        url, method = (path, "POST") if path else (f"{ITEMS}/bomb", "PUT")
        answer = server.http.request(method, url, content=content, headers={"Content-Type": "image/png"})
        assert_problem(answer, 422, "unreadable-photo", "pixels")
        assert time.monotonic() - began < 5


def test_a_compressed_body_is_not_unpacked(server: RunningServer) -> None:
    content = gzip.compress(bytes(50_000_000))
    for encoding in ("gzip", "deflate", "br", "GZIP", "gzip, gzip"):
        answer = server.http.post("/search", content=content, headers={**JSON, "Content-Encoding": encoding})
        assert_problem(answer, 415, "unsupported-media", "uncompressed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"vector":' * 100_000,
        b'{"filter":{"not":' * 50_000,
        b'{"vector": [' + b"9" * 1_000_000 + b"]}",
        b'{"limit": ' + b"9" * 4_299 + b"}",
        b'{"limit": 1e' + b"9" * 100_000 + b"}",
        b'{"vector": [' + b"1e308," * 200_000 + b"1]}",
        b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(1_000_000)) + b"}",
        b'{"limit":1,' * 1 + b",".join([b'"limit":1'] * 500_000) + b"}",
        b'{"vector": "' + b"\\u0000" * 1_000_000 + b'"}',
        b'{"vector": "' + b"A" * 20_000_000 + b'"}',
        b"\xff\xfe" * 100_000,
        b'{"vector": [' + b"[]," * 8_000_000 + b"1]}",
        b'{"with_payload": [' + b"1," * 8_000_000 + b"1]}",
        b'{"items": [{"id": "x", "payload": {"a": [' + b"0," * 8_000_000 + b"0]}}]}",
        b'{"filter": ' + b'{"and": [' * 6 + b'{"eq": []},' * 100_000 + b"1" + b"]}" * 6 + b"}",
    ],
    ids=["deep lists", "deep objects", "deep filters", "a number of a megabyte", "a long number", "a huge exponent",
         "many huge numbers", "a million keys", "half a million same keys", "NUL", "20 MB of base64", "no UTF-8", "many lists", "many fields",
         "many values", "many conditions"],
)  # fmt: skip
def test_json_bombs(server: RunningServer, content: bytes) -> None:
    began = time.monotonic()
    for method, path in (("POST", "/search"), ("POST", "/search/batch"), ("PUT", ITEMS), ("POST", f"{ITEMS}/delete")):
        answer = server.http.request(method, path, content=content, headers=JSON)
        assert answer.status_code in {400, 413, 422}, answer.text[:200]
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 20_000
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_body_of_a_million_keys_does_not_keep_others_waiting(server: RunningServer) -> None:
    content = b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(1_000_000)) + b"}"
    waited: list[float] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url) as http:
            for _ in range(40):
                began = time.monotonic()
                assert http.get("/livez").status_code == 200
                waited.append(time.monotonic() - began)
                time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    assert_problem(server.http.put(ITEMS, content=content, headers=JSON), 422, "validation", "keys and strings")
    assert_problem(server.http.post("/search", content=content, headers=JSON), 413, "payload-too-large")
    asking.join()
    assert max(waited) < 2


def test_conditions_as_large_as_they_may_be(server: RunningServer, headers: dict[str, str], query: np.ndarray) -> None:
    many = {"field": "kind", "in": [f"k{n}" for n in range(1_000)]}
    numbers = {"field": "absent", "in": list(range(1_000))}
    nested: dict[str, object] = {"field": "kind", "eq": "x"}
    for _ in range(7):
        nested = {"not": nested}
    for condition in (many, numbers, nested, {"or": [many] * 32}, {"or": [{"and": [many, numbers]}] * 16}):
        search = {"space": headers["Askew-Space"], "vector": pack_base64(query), "dtype": "f16le", "filter": condition}
        for answer in (
            server.http.post("/search", json=search),
            server.http.post(f"{ITEMS}/delete", json={"filter": condition}),
        ):
            assert answer.status_code in {200, 422}, answer.text[:300]


def test_the_last_of_two_same_keys_counts_and_is_checked(server: RunningServer) -> None:
    answer = server.http.post("/search", content=b'{"limit": 1, "limit": -1, "vector": [1]}', headers=JSON)
    assert_problem(answer, 422, "validation", "limit")


def test_a_payload_nests_no_deeper_than_it_can_be_read_back(
    server: RunningServer, query: np.ndarray, headers: dict[str, str]
) -> None:
    for depth, status in ((30, 200), (33, 422), (190, 422)):
        payload = json.loads('{"a":' * depth + "1" + "}" * depth)
        item = {"id": "deep", "vector": pack_base64(query), "dtype": "f16le", "payload": payload}
        answer = server.http.put(ITEMS, json={"space": headers["Askew-Space"], "items": [item]})
        assert answer.status_code == status, (depth, answer.text[:300])
    assert server.http.get(f"{ITEMS}/deep").status_code == 200
    server.http.delete(f"{ITEMS}/deep")


# HTTP itself


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz\r\n\r\n", 505),
        (b"GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n", 400),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET http://evil.example HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /health%zz HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /%00%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\na", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400),
        (b"POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
    ],
)
def test_odd_requests_are_refused(server: RunningServer, request_bytes: bytes, status: int) -> None:
    answer = exchange(server.url, request_bytes)
    assert answer.status == status, answer
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == status


def test_a_request_hidden_in_another_ones_body_is_not_served(server: RunningServer) -> None:
    """Where two readers of the same bytes could disagree on where a request ends, it is refused and the connection closed."""
    hidden = b"DELETE /v1/galleries/objects HTTP/1.1\r\nHost: a\r\n\r\n"
    for framing in (
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(hidden)),
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden),
        b"Content-Length: 0\rX: y\r\n\r\n",
    ):
        with closing(connect(server.url)) as connection:
            connection.sendall(b"POST /search HTTP/1.1\r\nHost: a\r\n" + framing + hidden)
            assert read_answer(connection).status == 400, framing
            assert read_answer(connection).status == 0, framing
    assert server.http.get("/v1/galleries/objects").status_code == 200


def test_what_follows_an_upgrade_is_not_served(server: RunningServer) -> None:
    with closing(connect(server.url)) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            b"DELETE /v1/galleries/objects HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert read_answer(connection).status == 200
        assert read_answer(connection).status == 0


def test_pipelined_requests_are_answered_in_their_order(server: RunningServer) -> None:
    with closing(connect(server.url)) as connection:
        paths = [b"/healthz", b"/absent", b"/readyz"] * 5
        connection.sendall(b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths))
        assert [read_answer(connection).status for _ in paths] == [200, 404, 200] * 5


@pytest.mark.parametrize(
    "header", ["X-Request-Id", "Askew-Encoder", "Askew-Dtype", "Askew-Space", "If-None-Match", "Range"]
)
def test_header_values_are_not_echoed_into_headers(server: RunningServer, header: str) -> None:
    value = b'x"\xff<script>' + b"y" * 500
    for path in (b"POST /search", b"GET /v1/encoders/teacher@1/file", b"GET /readyz"):
        answer = exchange(
            server.url,
            path
            + b" HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n"
            + header.encode()
            + b": "
            + value
            + b"\r\n\r\n",
        )
        assert answer.status in {200, 400, 409, 415, 416, 422}, answer
        assert "<script>" not in str(answer.headers)


# Values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_vectors_that_are_not_numbers(server: RunningServer, headers: dict[str, str], value: float, dtype: str) -> None:
    vector = np.full(64, 0.125)
    vector[3] = value
    with np.errstate(over="ignore"):
        content = vector.astype(dtype).tobytes()
    named = {**headers, "Askew-Dtype": "f16le" if dtype == "<f2" else "f32le"}
    answer = server.http.post("/search", content=content, headers=named)
    assert answer.json()["type"] in {"/problems/not-finite", "/problems/not-normalised"}


@pytest.mark.parametrize(
    "identity", ['"\\ud800"', '"\\udc00\\ud800"', '"a\\u0000b"', '"\\u001b[31m"', '"\\u007f"', "123", "null", '""']
)
def test_ids_that_are_none(server: RunningServer, headers: dict[str, str], identity: str) -> None:
    vector = json.dumps([0.125] * 64)
    text = f'{{"space": "{headers["Askew-Space"]}", "items": [{{"id": {identity}, "vector": {vector}}}]}}'
    assert server.http.put(ITEMS, content=text, headers=JSON).status_code in {400, 422}
    query = f'{{"space": "{headers["Askew-Space"]}", "vector": {vector}, "exclude": [{identity}]}}'
    assert server.http.post("/search", content=query, headers=JSON).status_code in {400, 422}


@pytest.mark.parametrize("number", ["9" * 25, "-" + "9" * 25, "1e400", "-0.0", "9223372036854775808", "1e308"])
def test_numbers_too_large_for_the_database(server: RunningServer, headers: dict[str, str], number: str) -> None:
    vector, space = json.dumps([0.125] * 64), headers["Askew-Space"]
    item = f'{{"id": "number", "vector": {vector}, "payload": {{"n": {number}, "list": [{number}]}}}}'
    stored = server.http.put(ITEMS, content=f'{{"space": "{space}", "items": [{item}]}}', headers=JSON)
    assert stored.status_code in {200, 400, 422}, stored.text
    for condition in (
        f'{{"field": "n", "eq": {number}}}',
        f'{{"field": "n", "in": [{number}]}}',
        f'{{"field": "n", "range": {{"gte": {number}}}}}',
    ):
        query = f'{{"space": "{space}", "vector": {vector}, "filter": {condition}}}'
        answer = server.http.post("/search", content=query, headers=JSON)
        assert answer.status_code in {200, 400, 422}, answer.text
        listed = server.http.get(ITEMS, params={"filter": condition})
        assert listed.status_code in {200, 400, 422}, listed.text
    if stored.status_code == 200:
        assert server.http.get(f"{ITEMS}/number").status_code == 200
        grouped = f'{{"space": "{space}", "vector": {vector}, "group_by": "n"}}'
        assert server.http.post("/search", content=grouped, headers=JSON).status_code == 200
        server.http.delete(f"{ITEMS}/number")


# Secrets


@pytest.mark.slow
def test_no_vector_key_or_photo_gets_into_the_log(
    data: Path, teacher: Encoder, photo: Path, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the most talkative level, on every way in, when it goes well and when it does not."""
    monkeypatch.setenv("ASKEW_LOG_LEVEL", "debug")
    monkeypatch.setenv("ASKEW_SLOW_REQUEST_SECONDS", "0.000001")
    key = run_askew("key", "create", "x", "--scope", "admin", "--data", data).stdout.strip()
    random = np.random.default_rng(secrets.randbits(64))
    vector = random.standard_normal(64)
    vector /= np.linalg.norm(vector)
    numbers, packed = vector.tolist(), pack_base64(vector.astype(np.float32))
    marked = photo.read_bytes() + b"the-end-of-a-secret-photo"
    server = RunningServer(data, "--gallery", "objects", "--photo-search")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(server.process.stdout or []))
    reader.start()
    http, space = server.http, headers["Askew-Space"]
    http.headers["Authorization"] = f"Bearer {key}"
    query = {"vector": numbers, "space": space}
    assert http.post("/search", json=query).status_code == 200
    assert http.post("/search", json={**query, "vector": packed, "dtype": "f16le"}).status_code == 200
    assert http.post("/search", content=pack(vector.astype(np.float32)), headers=headers).status_code == 200
    assert http.put(ITEMS, json={"space": space, "items": [{"id": "secret", "vector": numbers}]}).status_code == 200
    assert http.get(f"{ITEMS}/secret?with_vectors=true").status_code == 200
    assert http.put(f"{ITEMS}/photo", content=marked, headers={"Content-Type": "image/jpeg"}).status_code == 200
    assert http.post("/search/photo", content=marked).status_code == 200
    for wrong in (
        {**query, "vector": [*numbers[:-1], 9.5]}, {**query, "vector": numbers[:-1]}, {**query, "limit": 0}, {**query, "space": "x"},
        {**query, "vector": packed}, {**query, "vector": packed + "!", "dtype": "f16le"}, {**query, packed: numbers},
    ):  # fmt: skip
        assert http.post("/search", json=wrong).status_code in {409, 415, 422}
        assert http.put(ITEMS, json={"space": space, "items": [{"id": "x", **wrong}]}).status_code in {409, 415, 422}
    assert http.post("/search", content=json.dumps(query)[:-1], headers=JSON).status_code == 400
    assert http.put(f"{ITEMS}/photo", content=marked[:999], headers={"Content-Type": "image/jpeg"}).status_code == 422
    assert http.get("/v1/galleries", headers={"Authorization": f"Bearer {key}x"}).status_code == 401
    assert http.get("/v1/galleries", headers={"Authorization": f"{key}"}).status_code == 401
    made = http.post("/v1/keys", json={"name": "x", "scopes": ["search"]}).json()["key"]
    exchange(server.url, b"GET /v1/galleries HTTP/9.9\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n")
    server.process.terminate()
    server.process.wait(timeout=30)
    reader.join(timeout=30)
    assert server.process.stdout is not None
    server.process.stdout.close()
    http.close()
    log = "".join(lines)
    assert log.count('"request"') > 20
    for secret in (
        key.split("_", 2)[2], made.split("_", 2)[2], packed, packed[:40], str(numbers[5]), str(numbers[5])[:9], "secret-photo",
        base64.b64encode(marked)[:60].decode(), "JFIF",
    ):  # fmt: skip
        assert secret not in log
