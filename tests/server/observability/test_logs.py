"""The server's log: one line of JSON for each request, and nothing secret in any."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from askew_server.observability.logs import LogFormat, LogLevel, Logs
from tests.support.running_server import RunningServer

SECRET = "the-secret-word"
ITEMS = "/v1/galleries/objects/items"


@contextmanager
def logs_to(
    descriptor: int,
    form: LogFormat = "json",
    level: LogLevel = "info",
    *,
    max_waiting: int = 10_000,
    close_seconds: float = 60,
) -> Iterator[None]:
    """Log to an open file; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, root_level = root.handlers, root.level
    logs = Logs(form, level, descriptor, max_waiting=max_waiting)
    try:
        yield
    finally:
        logs.close(close_seconds)
        logging.captureWarnings(False)
        root.handlers = handlers
        root.setLevel(root_level)


@contextmanager
def logs_to_file(path: Path, form: LogFormat = "json", level: LogLevel = "info") -> Iterator[None]:
    with path.open("wb") as stream, logs_to(stream.fileno(), form, level):
        yield


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_logger_writes_json_lines_with_level_time_and_name(tmp_path: Path) -> None:
    with logs_to_file(tmp_path / "log"):
        logging.getLogger("askew.server").warning("photo %s is odd", "a.jpg", extra={"gallery": "objects"})
        logging.getLogger("uvicorn.error").info("Started")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something is old", DeprecationWarning, stacklevel=1)
    ours, uvicorns, python = lines_of(tmp_path / "log")
    assert (ours["message"], ours["level"], ours["logger"], ours["gallery"]) == (
        "photo a.jpg is odd",
        "warning",
        "askew.server",
        "objects",
    )
    assert ours["time"].endswith("Z")
    assert (uvicorns["message"], uvicorns["logger"]) == ("Started", "uvicorn.error")
    assert "something is old" in python["message"]


def test_a_traceback_stays_inside_its_line(tmp_path: Path) -> None:
    with logs_to_file(tmp_path / "log"):
        try:
            raise ValueError("no such thing")
        except ValueError:
            logging.getLogger("askew.server").exception("it failed")
    (line,) = lines_of(tmp_path / "log")
    assert "ValueError: no such thing" in line["exception"]


def test_lines_below_the_level_are_left_out(tmp_path: Path) -> None:
    with logs_to_file(tmp_path / "log", level="warning"):
        logging.getLogger("askew.server").info("nothing to see")
        logging.getLogger("askew.server").error("much to see")
    assert [line["message"] for line in lines_of(tmp_path / "log")] == ["much to see"]


def test_lines_for_people_are_not_json(tmp_path: Path) -> None:
    with logs_to_file(tmp_path / "log", form="console"):
        logging.getLogger("askew.server").info("hello", extra={"gallery": "objects"})
    text = (tmp_path / "log").read_text()
    assert "hello" in text and "gallery=objects" in text and not text.startswith("{")


def test_lines_of_several_threads_stay_whole_and_in_the_order_of_each(tmp_path: Path) -> None:
    def write(thread: int) -> None:
        for number in range(200):
            logging.getLogger(f"askew.{thread}").info("%d", number)

    with logs_to_file(tmp_path / "log"):
        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = lines_of(tmp_path / "log")
    for number in range(4):
        written = [int(line["message"]) for line in lines if line["logger"] == f"askew.{number}"]
        assert written == list(range(200))


def test_a_line_that_cannot_be_formatted_is_reported_in_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logs_to_file(tmp_path / "log"):
        logging.getLogger("askew.server").info("%d photos", "many")
        logging.getLogger("askew.server").info("the next line")
    failed, following = lines_of(tmp_path / "log")
    assert "'%d photos'" in failed["message"] and "TypeError" in failed["exception"]
    assert following["message"] == "the next line"
    assert capsys.readouterr().err == ""


def test_a_stalled_reader_blocks_no_request_and_dropped_lines_are_counted_in_their_place() -> None:
    reading, writing = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        while chunk := os.read(reading, 65_536):
            received.append(chunk)

    reader = threading.Thread(target=read)
    try:
        with logs_to(writing, max_waiting=500):
            # More than the pipe, the writer and the queue hold: this ends only if no line waits for the reader.
            for number in range(2_000):
                logging.getLogger("askew.requests").info("line %d %s", number, "x" * 1_000)
            reader.start()
    finally:
        os.close(writing)
    reader.join(60)
    os.close(reading)
    events = [json.loads(line)["message"] for line in b"".join(received).decode().splitlines()]
    notes = [event for event in events if "lines of this log were dropped" in event]
    assert notes
    expected = 0
    for event in events:
        if event in notes:
            expected += int(event.split()[0])
        else:
            assert event.startswith(f"line {expected} "), "no line is missing but those that are reported"
            expected += 1
    assert expected == 2_000


def test_closing_gives_up_on_a_reader_that_never_reads() -> None:
    before = set(threading.enumerate())
    reading, writing = os.pipe()
    try:
        with logs_to(writing, close_seconds=0.1):
            for number in range(200):
                logging.getLogger("askew.requests").info("line %d %s", number, "x" * 1_000)
    finally:
        os.close(reading)
    # The writer notices that the reader has closed the pipe, and ends.
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    os.close(writing)


@dataclass(frozen=True)
class Session:
    """The answers to some requests to a real server, and its log lines about them."""

    search: httpx.Response
    made_key: dict[str, str]
    output: str
    exit_code: int

    def requests(self, route: str) -> list[dict[str, Any]]:
        """The lines about requests of a route, in their order."""
        lines = [json.loads(line) for line in self.output.splitlines()]
        return [line for line in lines if line["logger"] == "askew.requests" and line["route"] == route]


@pytest.fixture(scope="module")
def session(
    indexed: Path, tmp_path_factory: pytest.TempPathFactory, headers: dict[str, str], body: bytes, photo: Path
) -> Session:
    """Requests of all kinds, some of which hold a secret, to a server that logs everything."""
    data = tmp_path_factory.mktemp("logged") / "data"
    shutil.copytree(indexed / "data", data)
    environment = {
        "ASKEW_LOG_LEVEL": "debug",
        "ASKEW_SLOW_REQUEST_SECONDS": "0.000001",
        "ASKEW_TRACING": "on",
        # No collector answers here.
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    vector = [1.0] + [0.0] * 63
    item = {"id": SECRET, "vector": vector, "payload": {"name": SECRET}}
    query = {"vector": vector, "space": headers["Askew-Space"], "filter": {"field": "name", "eq": SECRET}}
    with RunningServer(data, "--gallery", "objects", environment=environment) as server:
        http = server.http
        search = http.post("/search?limit=3", content=body, headers={"X-Request-Id": "my-request", **headers})
        http.get(f"{ITEMS}/no-such-item")
        http.put(ITEMS, json={"space": headers["Askew-Space"], "items": [item]})
        http.put(ITEMS, json={"space": "sp1-foreign", "items": [item | {"vector": SECRET}]})
        assert http.post("/search", json=query).json()["hits"][0]["id"] == SECRET
        http.get(f"{ITEMS}/{SECRET}")
        http.get(f"/nowhere/{SECRET}?filter={SECRET}", headers=_bearer(SECRET))
        http.put(f"{ITEMS}/{SECRET}", content=photo.read_bytes(), headers={"Content-Type": SECRET})
        key = http.post("/v1/keys", json={"name": "phone", "scopes": ["search"]}).json()
        assert http.get("/v1/galleries", headers=_bearer(key["key"])).status_code == 200
        assert http.get("/v1/galleries", headers=_bearer("nonsense")).status_code == 401
        output = server.stop()
        return Session(search, key, output, server.process.wait(timeout=10))


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_each_request_has_one_line_with_its_outcome(session: Session, body: bytes) -> None:
    found, filtered = session.requests("/search")
    (missing, read) = session.requests("/v1/galleries/{gallery}/items/{item_id}")[:2]
    assert found["request_id"] == "my-request"
    assert (found["method"], found["route"], found["gallery"], found["status"]) == ("POST", "/search", "objects", 200)
    assert (found["bytes_in"], found["bytes_out"]) == (len(body), len(session.search.content))
    assert found["milliseconds"] > 0
    assert {"queue", "search", "finish"} <= set(found["stages"])
    assert found["slow"] is True and found["level"] == "warning"
    assert "problem" not in found and "key" not in found
    assert (missing["status"], missing["problem"]) == (404, "unknown-item")
    assert filtered["status"] == read["status"] == 200


def test_a_key_is_named_by_its_id_and_never_shown(session: Session) -> None:
    known, unknown = session.requests("/v1/galleries")
    assert known["key"] == session.made_key["id"]
    assert "key" not in unknown and unknown["problem"] == "unauthorised"
    assert session.made_key["key"] not in session.output


def test_no_line_holds_a_vector_a_payload_an_item_or_a_photo(session: Session) -> None:
    assert len(session.requests("/v1/galleries/{gallery}/items")) == 2
    assert len(session.requests("/v1/galleries/{gallery}/items/{item_id}")) == 3
    assert len(session.requests("(none)")) == 1
    assert SECRET not in session.output


def test_with_tracing_on_lines_name_their_trace_and_a_missing_collector_harms_no_request(session: Session) -> None:
    traces = {line["trace_id"] for line in session.requests("/search")}
    assert len(traces) == 2 and all(len(trace) == 32 for trace in traces)
    # uvicorn ends by the signal that it got.
    assert session.exit_code in (0, -signal.SIGTERM)
