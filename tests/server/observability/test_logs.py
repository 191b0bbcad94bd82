"""What the server writes: one line of JSON for each request, and nothing secret in any."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from askew_server.observability.logs import LogFormat, LogLevel, Logs
from tests.support.running_server import RunningServer


@contextmanager
def logs_to(path: Path, form: LogFormat = "json", level: LogLevel = "info") -> Iterator[None]:
    """The pipeline writing into a file; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, root_level = root.handlers, root.level
    with path.open("wb") as stream:
        logs = Logs(form, level, stream.fileno())
        try:
            yield
        finally:
            logs.close()
            logging.captureWarnings(False)
            root.handlers = handlers
            root.setLevel(root_level)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_logger_writes_json_lines_with_level_time_and_name(tmp_path: Path) -> None:
    with logs_to(tmp_path / "log"):
        logging.getLogger("askew.server").warning("photo %s is odd", "a.jpg", extra={"gallery": "objects"})
        logging.getLogger("uvicorn.error").info("Started")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something is old", DeprecationWarning, stacklevel=1)
    ours, uvicorns, python = lines_of(tmp_path / "log")
    assert (ours["event"], ours["level"], ours["logger"], ours["gallery"]) == (
        "photo a.jpg is odd",
        "warning",
        "askew.server",
        "objects",
    )
    assert ours["timestamp"].endswith("Z")
    assert (uvicorns["event"], uvicorns["logger"]) == ("Started", "uvicorn.error")
    assert "something is old" in python["event"]


def test_a_traceback_stays_inside_its_line(tmp_path: Path) -> None:
    with logs_to(tmp_path / "log"):
        try:
            raise ValueError("no such thing")
        except ValueError:
            logging.getLogger("askew.server").exception("it failed")
    (line,) = lines_of(tmp_path / "log")
    assert "ValueError: no such thing" in line["exception"]


def test_lines_below_the_level_are_left_out(tmp_path: Path) -> None:
    with logs_to(tmp_path / "log", level="warning"):
        logging.getLogger("askew.server").info("nothing to see")
        logging.getLogger("askew.server").error("much to see")
    assert [line["event"] for line in lines_of(tmp_path / "log")] == ["much to see"]


def test_lines_for_people_are_no_json(tmp_path: Path) -> None:
    with logs_to(tmp_path / "log", form="console"):
        logging.getLogger("askew.server").info("hello", extra={"gallery": "objects"})
    text = (tmp_path / "log").read_text()
    assert "hello" in text and "gallery=objects" in text and not text.startswith("{")


def test_a_reader_that_stalls_holds_up_nobody_and_what_is_dropped_is_told() -> None:
    reading, writing = os.pipe()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    logs = Logs("json", "info", writing)
    logger = logging.getLogger("askew.requests")
    received: list[bytes] = []
    try:
        began = time.monotonic()
        for number in range(15_000):
            logger.info("line %d %s", number, "x" * 100)
        assert time.monotonic() - began < 20

        def read() -> None:
            while chunk := os.read(reading, 65_536):
                received.append(chunk)

        reader = threading.Thread(target=read)
        reader.start()
        logs.close()
    finally:
        logging.captureWarnings(False)
        root.handlers = handlers
        root.setLevel(level)
        os.close(writing)
    reader.join(10)
    os.close(reading)
    events = [json.loads(line)["event"] for line in b"".join(received).decode().splitlines()]
    assert events[0].startswith("line 0 ")
    assert any("lines of this log were dropped" in event for event in events)


@pytest.fixture
def served(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setenv("ASKEW_LOG_LEVEL", "debug")
    monkeypatch.setenv("ASKEW_SLOW_REQUEST_SECONDS", "0.000001")
    with RunningServer(data, "--gallery", "objects") as running:
        yield running


def requests_of(output: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in output.splitlines()]
    return [line for line in lines if line["logger"] == "askew.requests"]


def test_each_request_has_one_line_that_tells_what_became_of_it(
    served: RunningServer, headers: dict[str, str], body: bytes
) -> None:
    asked = {"X-Request-Id": "my-request", **headers}
    answer: httpx.Response = served.http.post("/search?limit=3", content=body, headers=asked)
    served.http.get("/v1/galleries/objects/items/no-such-item")
    found, missing = [line for line in requests_of(served.stop()) if line["route"] != "/readyz"]
    assert found["request_id"] == "my-request"
    assert (found["method"], found["route"], found["gallery"], found["status"]) == ("POST", "/search", "objects", 200)
    assert (found["bytes_in"], found["bytes_out"]) == (len(body), len(answer.content))
    assert found["milliseconds"] > 0
    assert {"queue", "search", "finish"} <= set(found["stages"])
    assert found["slow"] is True and found["level"] == "warning"
    assert "problem" not in found and "key" not in found
    assert (missing["status"], missing["problem"]) == (404, "unknown-item")
    assert missing["route"] == "/v1/galleries/{gallery}/items/{item_id}"


def test_a_key_is_named_by_its_id_and_never_shown(served: RunningServer) -> None:
    made = served.http.post("/v1/keys", json={"name": "phone", "scopes": ["search"]}).json()
    assert served.http.get("/v1/galleries", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 200
    assert served.http.get("/v1/galleries", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    output = served.stop()
    known, unknown = [line for line in requests_of(output) if line["route"] == "/v1/galleries"]
    assert known["key"] == made["id"]
    assert "key" not in unknown and unknown["problem"] == "unauthorised"
    assert made["key"] not in output


def test_no_line_holds_a_vector_a_payload_an_item_or_a_photo(
    served: RunningServer, headers: dict[str, str], photo: Path
) -> None:
    secret = "the-secret-word"
    vector = [1.0] + [0.0] * 63
    item = {"id": secret, "vector": vector, "payload": {"name": secret}}
    served.http.put("/v1/galleries/objects/items", json={"space": headers["Askew-Space"], "items": [item]})
    served.http.put("/v1/galleries/objects/items", json={"space": "sp1-foreign", "items": [item | {"vector": secret}]})
    query = {"vector": vector, "space": headers["Askew-Space"], "filter": {"field": "name", "eq": secret}}
    assert served.http.post("/search", json=query).json()["hits"][0]["id"] == secret
    served.http.get(f"/v1/galleries/objects/items/{secret}")
    served.http.get(f"/nowhere/{secret}?filter={secret}", headers={"Authorization": f"Bearer {secret}"})
    served.http.put(
        f"/v1/galleries/objects/items/{secret}", content=photo.read_bytes(), headers={"Content-Type": secret}
    )
    output = served.stop()
    assert len(requests_of(output)) >= 7
    assert secret not in output
