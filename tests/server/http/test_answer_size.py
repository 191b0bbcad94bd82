"""Answers are bounded in bytes: what would be larger is refused with the figures before it is read."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from askew_client import Client
from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from askew_client.errors import ProblemError
from askew_server.gallery.answer_size import AnswerSize, AnswersUnderWay
from askew_server.http.middleware.limits import InFlightBytes, _Bounds, _Exchange
from askew_server.storage.items import StoredItem
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.waiting import wait_until

LIMIT = 65_536
ITEMS = 200
TEXT = "x" * 2_000
GALLERY = "/v1/galleries/large"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path, teacher: Encoder) -> Path:
    """DATA with the gallery `large`: 200 items of 2 kB, and one of 100 kB that no query comes near."""
    data = tmp_path_factory.mktemp("large") / "data"
    items = [
        StoredItem(f"item-{n:04}", unit_vector(n), {"n": n, "kind": f"kind-{n % 50}", "text": TEXT})
        for n in range(ITEMS)
    ]
    write_gallery(data, "large", teacher_file, items)
    write_gallery(data, "huge", teacher_file, [StoredItem("huge", unit_vector(0), {"text": "x" * 100_000})])
    return data


@pytest.fixture
def copied(large: Path, tmp_path: Path) -> Path:
    """A copy of DATA for another server."""
    return Path(shutil.copytree(large, tmp_path / "data"))


@pytest.fixture(scope="module")
def bounded(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose answers have at most 64 kB."""
    with RunningServer(
        shutil.copytree(large, tmp_path_factory.mktemp("bounded") / "data"),
        "--gallery",
        "large",
        "--photo-search",
        environment={"ASKEW_MAX_ANSWER_BYTES": str(LIMIT)},
    ) as running:
        yield running


def _query(teacher: Encoder, seed: int, **options: object) -> dict[str, Any]:
    vector = pack_base64(unit_vector(seed))
    return {"vector": vector, "dtype": "f16le", "space": teacher.space_id, **options}


def _batch(teacher: Encoder, count: int, **options: object) -> dict[str, Any]:
    return {"queries": [_query(teacher, seed) for seed in range(count)], **options}


# Each way to ask: method, path, JSON body, and whether it is small enough.
def _ways(teacher: Encoder) -> list[tuple[str, str, Any, bool]]:
    search, batch = f"{GALLERY}/search", f"{GALLERY}/search/batch"
    return [
        ("POST", search, _query(teacher, 1, limit=20), True),
        ("POST", search, _query(teacher, 1, limit=40), False),
        ("POST", search, _query(teacher, 1, limit=200), False),
        ("POST", "/search", _query(teacher, 1, limit=200), False),
        ("POST", search, _query(teacher, 1, limit=200, with_payload=False), True),
        ("POST", search, _query(teacher, 1, limit=200, with_payload=["n", "kind"]), True),
        ("POST", search, _query(teacher, 1, limit=200, with_payload=["text"]), False),
        ("POST", search, _query(teacher, 1, limit=200, with_payload=False, with_vectors=True), True),
        ("POST", batch, _batch(teacher, 2, limit=200, with_payload=False, with_vectors=True), False),
        ("POST", search, _query(teacher, 1, limit=200, filter={"field": "n", "range": {"lt": 20}}), True),
        ("POST", search, _query(teacher, 1, limit=200, filter={"field": "n", "range": {"lt": 40}}), False),
        ("POST", search, _query(teacher, 1, limit=10, group_by="kind"), True),
        ("POST", search, _query(teacher, 1, limit=50, group_by="kind"), False),
        ("POST", search, _query(teacher, 1, limit=50, group_by="kind", group_size=4, with_payload=["n"]), True),
        ("POST", batch, _batch(teacher, 3, limit=10), True),
        ("POST", batch, _batch(teacher, 4, limit=10), False),
        ("POST", batch, _batch(teacher, 40, limit=1), False),
        ("POST", "/search/batch", _batch(teacher, 40, limit=100), False),
        ("POST", batch, _batch(teacher, 4, limit=10, group_by="kind"), False),
        ("POST", batch, _batch(teacher, 4, limit=200, with_payload=False), True),
        ("GET", f"{GALLERY}/items?limit=20", None, True),
        ("GET", f"{GALLERY}/items?limit=31&with_vectors=true", None, False),
        ("GET", f"{GALLERY}/items?limit=40", None, False),
        ("GET", f"{GALLERY}/items?limit=1000", None, False),
        ("GET", f"{GALLERY}/items?limit=25&with_vectors=true", None, True),
        ("GET", f"{GALLERY}/items/item-0007/similar?limit=20", None, True),
        ("GET", f"{GALLERY}/items/item-0007/similar?limit=40", None, False),
        ("GET", f"{GALLERY}/items/item-0007?with_vectors=true", None, True),
        ("GET", "/v1/galleries/huge/items/huge", None, False),
        ("POST", "/v1/galleries/huge/search", _query(teacher, 1), False),
        ("POST", "/v1/galleries/huge/search", _query(teacher, 1, with_payload=["none"]), True),
    ]


def test_every_answer_that_would_be_too_large_is_refused_with_the_figures(
    bounded: RunningServer, teacher: Encoder
) -> None:
    for method, path, body, fits in _ways(teacher):
        asked = f"{method} {path} {str(body)[-120:]}"
        answer = bounded.http.request(method, path, json=body)
        if fits:
            assert answer.status_code == 200, f"{asked}: {answer.text}"
            assert len(answer.content) <= LIMIT + 500, asked
            continue
        assert answer.status_code == 422, f"{asked}: {answer.status_code}, {len(answer.content)} bytes"
        problem = assert_problem(answer, 422, "answer-too-large", "65,536 bytes", "smaller limit", "fewer queries")
        assert problem["limit"] == LIMIT, asked
        assert isinstance(problem["bytes"], int), asked
        assert problem["bytes"] > LIMIT, asked


def test_raw_and_photo_queries_are_bounded_as_well(
    bounded: RunningServer, teacher: Encoder, headers: dict[str, str], photo: Path
) -> None:
    vector = pack(unit_vector(1))
    small, large = (
        bounded.http.post(f"{GALLERY}/search?limit={limit}", content=vector, headers=headers) for limit in (20, 200)
    )
    assert len(small.json()["hits"]) == 20
    assert_problem(large, 422, "answer-too-large")
    picture: dict[str, Any] = {"content": photo.read_bytes(), "headers": {"Content-Type": "image/jpeg"}}
    assert_problem(bounded.http.post("/search/photo?limit=200", **picture), 422, "answer-too-large")
    assert bounded.http.post("/search/photo?limit=2", **picture).status_code == 200


def test_the_figure_is_near_the_size_that_the_answer_would_have(copied: Path, teacher: Encoder) -> None:
    with RunningServer(copied, "--gallery", "large") as free:
        sizes = [len(free.http.request(way, path, json=body).content) for way, path, body, _ in _ways(teacher)]
    limit = {"ASKEW_MAX_ANSWER_BYTES": str(LIMIT)}
    with RunningServer(copied, "--gallery", "large", environment=limit) as bounded:
        for size, (method, path, body, fits) in zip(sizes, _ways(teacher), strict=True):
            if not fits and "limit=1000" not in path:
                told = bounded.http.request(method, path, json=body).json()["bytes"]
                assert told == pytest.approx(size, rel=0.15), f"{method} {path} {str(body)[-120:]}"


def test_an_answer_in_many_parts_holds_the_same_as_single_ones(copied: Path, teacher: Encoder) -> None:
    """With each payload of another size, from nothing to more than is written at once."""
    sizes = [0, 1, 63, 65_535, 65_536, 65_537, 300_000, 262_144, 262_145, 5, 500_000, 2]
    items: list[dict[str, Any]] = [
        {"id": f'part-"{n}"\\é', "vector": pack_base64(unit_vector(1_000 + n)), "dtype": "f16le",
         "payload": {"n": n, "text": "é\u2028\"\\" * (size // 6)}}
        for n, size in enumerate(sizes)
    ]  # fmt: skip
    with RunningServer(copied, "--gallery", "parts") as server:
        created = server.http.put("/v1/galleries/parts", json={"teacher": teacher.manifest.model_dump(mode="json")})
        assert created.status_code == 201, created.text
        stored = server.http.put("/v1/galleries/parts/items", json={"space": teacher.space_id, "items": items})
        assert stored.status_code == 200, stored.text
        payloads = {item["id"]: item["payload"] for item in items}
        listed = server.http.get("/v1/galleries/parts/items?limit=1000&with_vectors=true")
        assert {each["id"]: each["payload"] for each in listed.json()["items"]} == payloads
        assert all(each["dtype"] == "f16le" and not each["has_photo"] for each in listed.json()["items"])
        pages = server.http.get("/v1/galleries/parts/items?limit=7").json()
        assert len(pages["items"]) == 7
        assert pages["next_cursor"]
        whole = server.http.post("/search", json=_query(teacher, 1_003)).json()
        alone = [
            server.http.post("/search", json=_query(teacher, 1_003, limit=limit)).json()["hits"][-1]
            for limit in range(1, 11)
        ]
        assert whole["hits"] == alone
        batch = server.http.post("/search/batch", json=_batch(teacher, 5, limit=12)).json()
        assert [len(each["hits"]) for each in batch["results"]] == [12] * 5
        for each in batch["results"]:
            assert {hit["id"]: hit["payload"] for hit in each["hits"]} == payloads
        chosen = server.http.post("/search", json=_query(teacher, 1_003, limit=12, with_payload=["n"])).json()
        assert [hit["payload"] for hit in chosen["hits"]] == [{"n": payloads[hit["id"]]["n"]} for hit in chosen["hits"]]
        raw = server.http.get("/v1/galleries/parts/items/part-%2210%22%5C%C3%A9")
        assert raw.json()["payload"] == items[10]["payload"]
        assert int(raw.headers["content-length"]) == len(raw.content)


@pytest.fixture
def heavy(tmp_path: Path, teacher_file: Path, teacher: Encoder) -> Path:
    """DATA with the gallery `heavy`: 1,000 items of 2 kB."""
    data = tmp_path / "heavy"
    items = [StoredItem(f"i{n}", unit_vector(n), {"text": f"{n:02000}"}) for n in range(1_000)]
    write_gallery(data, "heavy", teacher_file, items)
    return data


def _memory(server: RunningServer, which: str) -> int:
    """Megabytes: VmRSS now, VmHWM at most."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1_024 for line in lines if line.startswith(which))


class _Pulse:
    """Asks /healthz all the time; `worst`: the longest answer, in seconds."""

    def __init__(self, url: str) -> None:
        self.worst = 0.0
        self._url = url
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._done.is_set():
                began = time.monotonic()
                client.get("/healthz").raise_for_status()
                self.worst = max(self.worst, time.monotonic() - began)
                self._done.wait(0.002)

    def __enter__(self) -> _Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.mark.slow
def test_a_search_key_can_neither_fill_the_memory_nor_stop_the_server(heavy: Path, teacher: Encoder) -> None:
    with RunningServer(heavy, "--gallery", "heavy") as server:
        assert server.http.post("/search", json=_query(teacher, 1)).status_code == 200
        before = _memory(server, "VmRSS")
        with _Pulse(server.url) as pulse:
            for queries, fits in ((20, True), (100, False), (300, False), (1_000, False)):
                answer = server.http.post("/search/batch", json=_batch(teacher, queries, limit=1_000))
                if fits:
                    assert answer.status_code == 200
                    continue
                problem = assert_problem(answer, 422, "answer-too-large", "64,000,000")
                assert problem["bytes"] == pytest.approx(queries * 2_050_000, rel=0.1)
        # The answer that fits has 41 MB; it is held once.
        assert _memory(server, "VmHWM") < before + 200
        assert pulse.worst < 1.0, "the server stood still"


@pytest.mark.slow
def test_clients_that_do_not_read_large_answers_cannot_fill_the_memory(heavy: Path, teacher: Encoder) -> None:
    request = json.dumps(_batch(teacher, 20, limit=1_000)).encode()
    head = f"POST /search/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(request)}\r\n\r\n"
    limits = {"ASKEW_MAX_ANSWERS_BYTES": "100000000"}
    with RunningServer(heavy, "--gallery", "heavy", environment=limits) as server:
        before = _memory(server, "VmRSS")
        port = int(server.url.rsplit(":", 1)[1])
        with ExitStack() as stalled:
            statuses = []
            for _ in range(6):
                each = stalled.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                each.sendall(head.encode() + request)
                statuses.append(each.recv(12, socket.MSG_WAITALL))
            assert statuses == [b"HTTP/1.1 200"] * 2 + [b"HTTP/1.1 429"] * 4
            assert _memory(server, "VmHWM") < before + 250
            refused = server.http.post("/search/batch", json=_batch(teacher, 20, limit=1_000))
            assert refused.status_code == 429
            problem = assert_problem(refused, 429, "overloaded", "large answers")
            assert "Traceback" not in str(problem)
            assert server.http.post("/search", json=_query(teacher, 1, limit=100)).status_code == 200
        again: dict[str, Any] = {"json": _batch(teacher, 20, limit=1_000)}
        wait_until(lambda: server.http.post("/search/batch", **again).status_code == 200, "the places are free again")


@pytest.mark.slow
def test_of_many_large_answers_at_once_not_all_are_refused(heavy: Path, teacher: Encoder) -> None:
    """Each batch has more queries than are answered at once, so all hold a part when the room is full."""
    limits = {"ASKEW_MAX_ANSWERS_BYTES": "100000000", "ASKEW_MAX_ANSWER_BYTES": "48000000"}
    batch = _batch(teacher, 20, limit=1_000)
    with RunningServer(heavy, "--gallery", "heavy", environment=limits) as server:
        before = _memory(server, "VmRSS")

        def ask(_: int) -> int:
            with httpx.Client(base_url=server.url, timeout=120) as client:
                return client.post("/search/batch", json=batch).status_code

        for _ in range(3):
            with ThreadPoolExecutor(8) as threads:
                statuses = list(threads.map(ask, range(8)))
            assert set(statuses) <= {200, 429}
            assert 200 in statuses, statuses
        assert _memory(server, "VmHWM") < before + 250
        assert ask(0) == 200


def test_a_reader_that_trickles_gives_its_room_back() -> None:
    """In the server's own parts, as the buffers of sockets hold megabytes."""

    async def trickle() -> tuple[int, int]:
        room = AnswersUnderWay(10_000_000)
        size = AnswerSize(10_000_000, room)
        size.take(10_000_000, 1.0)

        async def receive() -> Message:
            raise AssertionError("nothing is received")

        async def send(_: Message) -> None:
            await asyncio.sleep(0.01)

        bounds = _Bounds(1_000, 60, InFlightBytes(1_000))
        exchange = _Exchange(
            receive, send, request_id="a", bounds=bounds, size=size, receive_seconds=0.1, counts_json=False
        )
        began, sent = time.monotonic(), 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60) as exchange.deadline:
                await exchange.send({"type": "http.response.start", "status": 200, "headers": []})
                while sent < 10_000:
                    sent += 1
                    await exchange.send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert time.monotonic() - began < 30
        return sent, room.bytes

    sent, held = asyncio.run(trickle())
    assert 0 < sent < 10_000
    # What was read is free already, what was not when the request ends.
    assert held in {10_000_000 - sent, 10_000_000 - sent + 1}


def test_the_client_asks_for_smaller_pages_where_payloads_are_large(bounded: RunningServer) -> None:
    with Client(bounded.url) as client:
        assert [item.id for item in client.items(gallery="large")] == [f"item-{n:04}" for n in range(ITEMS)]
        some = client.items(gallery="large", filter={"field": "n", "range": {"gte": 150}}, with_vectors=True)
        assert [item.id for item in some] == [f"item-{n:04}" for n in range(150, ITEMS)]
        with pytest.raises(ProblemError, match="65,536 bytes"):
            list(client.items(gallery="huge"))
