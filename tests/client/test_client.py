"""Both clients against a scripted HTTP server: requests, errors, retries."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from askew_client import Client, Encoder
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import unpack, unpack_json
from askew_client.errors import (
    Conflict,
    DamagedEncoder,
    EncoderRefused,
    NotAnEncoder,
    Overloaded,
    ProblemError,
    ServerError,
    ServerFailed,
    ServerUnreachable,
    SpaceMismatch,
    UnknownGallery,
    UnknownItem,
    UnreadablePhoto,
    WireError,
)
from askew_server.http.receiving.item_bodies import RawItems
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
SEARCH_ANSWER = {
    "hits": [{"id": "a", "score": 0.9, "payload": {"title": "A"}}],
    "space": SPACE,
    "gallery": "default",
    "index": "exact",
    "exact": True,
}


# Requests


def test_a_search_sends_the_raw_vector_with_its_space_and_encoder(server: ScriptedServer, client: Client) -> None:
    server.answer(SEARCH_ANSWER)
    condition: dict[str, JsonValue] = {"field": "kind", "eq": "landmark"}
    found = client.search(VECTOR, space=SPACE, encoder="s@1", limit=3, max_false_match=0.01, filter=condition)
    assert found.hits[0].payload == {"title": "A"}
    (request,) = server.requests
    assert (request.method, request.path.partition("?")[0]) == ("POST", "/search")
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["askew-space"] == SPACE
    assert request.headers["askew-encoder"] == "s@1"
    assert request.headers["authorization"] == "Bearer secret"
    assert unpack(request.body, request.headers["askew-dtype"], 4) == pytest.approx(VECTOR, abs=1e-3)
    assert "limit=3" in request.path
    assert "max_false_match=0.01" in request.path
    assert "filter=%7B%22field%22" in request.path


def test_search_with_describes_the_photo_and_sends_only_its_vector(
    server: ScriptedServer, client: Client, student_file: Path, photos: list[Path]
) -> None:
    server.answer(SEARCH_ANSWER)
    encoder = Encoder(student_file)
    client.search_with(encoder, photos[0], gallery="demo")
    (request,) = server.requests
    assert request.path == "/v1/galleries/demo/search?limit=10"
    assert request.headers["askew-space"] == encoder.space_id
    assert request.headers["askew-encoder"] == "student@1"
    assert len(request.body) == 2 * 64


def test_a_batch_is_sent_as_json(server: ScriptedServer, client: Client) -> None:
    server.answer({**SEARCH_ANSWER, "results": [{"hits": []}, {"hits": []}]})
    assert len(client.search_batch(np.stack([VECTOR, VECTOR]), space=SPACE, limit=2).results) == 2
    body = server.requests[0].json
    assert body["limit"] == 2
    assert isinstance(body["queries"], list)
    assert body["queries"][0]["space"] == SPACE


def test_a_photo_is_sent_unchanged(server: ScriptedServer, client: Client, photos: list[Path]) -> None:
    server.answer(SEARCH_ANSWER)
    client.search_photo(photos[0], encoder="s@1")
    assert server.requests[0].body == photos[0].read_bytes()
    assert server.requests[0].headers["content-type"] == "image/jpeg"
    assert server.requests[0].path == "/search/photo?limit=10&encoder=s%401"


def test_an_id_is_one_segment_of_the_path(server: ScriptedServer, client: Client) -> None:
    server.answer({"deleted": "x", "sequence": 1})
    for item_id in ("a/b c?#%é", "..", ".", "%2F"):
        client.delete_item(item_id, gallery="demo")
    paths = [request.path.removeprefix("/v1/galleries/demo/items/") for request in server.requests]
    assert paths == ["a%2Fb%20c%3F%23%25%C3%A9", "%2E%2E", "%2E", "%252F"]


@pytest.mark.slow
def test_upsert_sends_ten_thousand_items_in_each_request(server: ScriptedServer, client: Client) -> None:
    server.answer({"upserted": 10_000, "sequence": 1})
    server.answer({"upserted": 500, "sequence": 2})
    ids = [f"item-{number}" for number in range(10_500)]
    stored = client.upsert(ids, np.tile(VECTOR, (10_500, 1)), gallery="demo", space=SPACE)
    assert (stored.upserted, stored.sequence) == (10_500, 2)
    sent = [RawItems(request.body).ids for request in server.requests]
    assert sent == [ids[:10_000], ids[10_000:]]
    with pytest.raises(ValueError, match="same number of ids"):
        client.upsert(["a"], np.tile(VECTOR, (2, 1)), gallery="demo", space=SPACE)


def test_a_photo_with_its_vector_is_a_form(server: ScriptedServer, client: Client, photos: list[Path]) -> None:
    server.answer({"upserted": 1, "sequence": 1})
    payload: dict[str, JsonValue] = {"title": "Ä"}
    client.upsert_photo("a", photos[0], gallery="demo", payload=payload, vector=VECTOR, space=SPACE)
    (request,) = server.requests
    assert request.headers["content-type"].startswith("multipart/form-data")
    for part in (photos[0].read_bytes(), b'name="vector"', b'name="dtype"', SPACE.encode(), b"image/jpeg"):
        assert part in request.body


def test_items_are_read_from_all_pages(server: ScriptedServer, client: Client) -> None:
    item = {"payload": {}, "has_photo": False}
    server.answer({"items": [{"id": "a", **item}, {"id": "b", **item}], "next_cursor": "b+/="})
    server.answer({"items": [{"id": "c", **item}]})
    assert [each.id for each in client.items(gallery="demo")] == ["a", "b", "c"]
    assert "cursor=b%2B%2F%3D" in server.requests[1].path


def test_invalid_vectors_and_files_are_refused_before_anything_is_sent(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(WireError):
        client.search(VECTOR * 2, space=SPACE)
    with pytest.raises(WireError, match="Expected one vector"):
        client.search(VECTOR[None], space=SPACE)
    with pytest.raises(UnreadablePhoto):
        client.search_photo(b"not a photo")
    with pytest.raises(UnreadablePhoto, match="cannot be read"):
        client.search_photo("missing.jpg")
    with pytest.raises(NotAnEncoder, match="cannot be read"):
        client.admit("missing.onnx", gallery="demo")
    assert not server.requests


# Encoders


def test_a_downloaded_encoder_is_verified_before_it_replaces_a_file(
    server: ScriptedServer, client: Client, student_file: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.onnx"
    server.answer(student_file.read_bytes())
    assert client.download_encoder("student@1", kept) == kept
    assert kept.read_bytes() == student_file.read_bytes()
    with pytest.raises(DamagedEncoder, match=r"the encoder other@1 from .*, got student@1"):
        client.download_encoder("other@1", kept)
    damaged = bytearray(student_file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    server.answers.clear()
    server.answer(bytes(damaged))
    with pytest.raises(DamagedEncoder):
        client.download_encoder("student@1", kept)
    assert kept.read_bytes() == student_file.read_bytes()


def test_a_gallery_is_created_from_a_file_or_a_manifest(
    server: ScriptedServer, client: Client, teacher_file: Path
) -> None:
    description = {
        "name": "demo",
        "space": SPACE,
        "dim": 64,
        "items": 0,
        "photos": 0,
        "sequence": 0,
        "index": "exact",
        "exact": True,
        "teacher": "t@1",
        "photo_size": 128,
        "scales": [1.0],
        "describes_photos": True,
        "admitted_encoders": [],
    }
    server.answer(description, 201)
    assert client.create_gallery("demo", teacher_file).dim == 64
    assert server.requests[0].body == teacher_file.read_bytes()
    client.create_gallery("demo", Encoder(teacher_file).manifest)
    teacher = server.requests[1].json["teacher"]
    assert isinstance(teacher, dict)
    assert unpack_json(teacher["golden"]["small"], "f32le", 64).shape == (64,)


# Errors and retries


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (ProblemKind.SPACE_MISMATCH, SpaceMismatch),
        (ProblemKind.UNKNOWN_GALLERY, UnknownGallery),
        (ProblemKind.UNKNOWN_ITEM, UnknownItem),
        (ProblemKind.ENCODER_REFUSED, EncoderRefused),
        (ProblemKind.GALLERY_CONFLICT, Conflict),
        (ProblemKind.INTERNAL, ServerFailed),
    ],
)
def test_each_problem_has_its_error(
    server: ScriptedServer, client: Client, kind: ProblemKind, error: type[ProblemError]
) -> None:
    server.problem(kind, {"expected": SPACE})
    with pytest.raises(error, match="What came, and what to do") as caught:
        client.gallery("demo")
    assert type(caught.value) is error
    assert caught.value.status == kind.status
    assert caught.value.problem.slug == kind.slug
    assert caught.value.problem.extras == {"expected": SPACE}
    assert caught.value.problem.instance == "request-1"
    assert len(server.requests) == 1


@pytest.mark.slow
def test_retry_after_in_seconds_is_honoured(server: ScriptedServer, client: Client) -> None:
    server.problem(ProblemKind.OVERLOADED, retry_after="1")
    server.answer(SEARCH_ANSWER)
    start = time.monotonic()
    assert client.search(VECTOR, space=SPACE).hits
    assert 0.95 < time.monotonic() - start < 20
    first, second = server.requests
    assert first.body == second.body != b""


@pytest.mark.slow
def test_retry_after_as_a_date_is_honoured(server: ScriptedServer, client: Client) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=2)
    server.problem(ProblemKind.NOT_READY, retry_after=format_datetime(moment, usegmt=True))
    server.answer({"status": "ok", "version": "0.2.0", "galleries": 1, "quarantined": 0})
    assert client.health().status == "ok"
    assert datetime.now(UTC) > moment - timedelta(seconds=1.1)


@pytest.mark.slow
def test_a_retry_sends_the_same_form(server: ScriptedServer, client: Client, photos: list[Path]) -> None:
    server.answer(b"<html>", 502, content_type="text/html")
    server.answer({"upserted": 1, "sequence": 1})
    client.upsert_photo("a", photos[0], gallery="demo", vector=VECTOR)
    assert server.requests[0].body == server.requests[1].body


def test_a_server_that_stays_busy_raises_overloaded(server: ScriptedServer, connect: Callable[..., Client]) -> None:
    server.problem(ProblemKind.OVERLOADED, retry_after="7")
    impatient = connect(server.url, retries=0)
    with pytest.raises(Overloaded) as caught:
        impatient.galleries()
    assert caught.value.retry_after == 7
    assert len(server.requests) == 1


@pytest.mark.slow
def test_retries_are_bounded(server: ScriptedServer, connect: Callable[..., Client]) -> None:
    server.answer(b"", 504)
    client = connect(server.url, retries=2)
    with pytest.raises(ProblemError, match="504 Gateway Timeout"):
        client.galleries()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "content_type", "body", "sentence"),
    [
        (502, "text/html", b"<html>Bad Gateway</html>", "502 Bad Gateway with text/html"),
        (404, "application/json", b'{"detail": "Not Found"}', "404 Not Found"),
        (418, "text/plain", b"", "418"),
        (599, "application/problem+json", b"[]", "599 with application/problem"),
    ],
)
def test_errors_without_a_problem_document_are_described(
    server: ScriptedServer, connect: Callable[..., Client], status: int, content_type: str, body: bytes, sentence: str
) -> None:
    server.answer(body, status, content_type=content_type)
    client = connect(server.url, retries=0)
    with pytest.raises(ProblemError, match=sentence) as caught:
        client.galleries()
    assert caught.value.status == status


def test_redirects_are_reported_and_not_followed(server: ScriptedServer, client: Client) -> None:
    server.answer(b"", 308, location="https://elsewhere.example/")
    with pytest.raises(ProblemError, match=r"use the address that the answer names: https://elsewhere\.example/"):
        client.galleries()


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"hits": 3}'])
def test_answers_of_another_kind_of_server_are_refused(server: ScriptedServer, client: Client, body: bytes) -> None:
    server.answer(body)
    with pytest.raises(ServerError, match="Is this an Askew server"):
        client.search(VECTOR, space=SPACE)


@pytest.mark.slow
def test_a_refused_connection_names_the_address(connect: Callable[..., Client]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        client = connect(url, retries=1)
        with pytest.raises(ServerUnreachable, match=f"{url}.*askew serve"):
            client.galleries()


def test_a_timeout_is_not_retried(server: ScriptedServer, connect: Callable[..., Client]) -> None:
    server.answer({})
    server.gate.clear()
    with pytest.raises(ServerUnreachable, match=r"did not answer within 0\.2 s"):
        connect(server.url, timeout=0.2).galleries()
    server.wait_until(lambda: server.in_progress == 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://host:port"])
def test_an_invalid_address_is_refused(connect: Callable[..., Client], url: str) -> None:
    with pytest.raises(ServerUnreachable, match="Expected the address of a server such as"):
        connect(url)


def test_a_path_in_the_address_is_a_prefix(server: ScriptedServer, connect: Callable[..., Client]) -> None:
    server.answer({"status": "ok", "version": "0.2.0", "galleries": 1, "quarantined": 0})
    connect(server.url + "/askew/").health()
    assert server.requests[0].path == "/askew/readyz"
