"""Items: what was written is what is read, found, listed and deleted."""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

ITEMS = "/v1/galleries/objects/items"
Query = NDArray[np.float32]


def _item(identity: str, vector: Query, **payload: object) -> dict[str, object]:
    return {"id": identity, "vector": pack_base64(vector), "dtype": "f16le", "payload": payload}


def _unit(seed: int) -> Query:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_an_item_is_found_as_soon_as_it_is_acknowledged_and_gone_as_soon_as_it_is_deleted(
    server: RunningServer, headers: dict[str, str]
) -> None:
    vector = _unit(1)
    space = headers["Askew-Space"]
    answer = server.http.put(ITEMS, json={"space": space, "items": [_item("new", vector, n=1)]})
    assert answer.json()["upserted"] == 1
    query = {"vector": pack_base64(vector), "dtype": "f16le", "space": space, "limit": 1}
    assert server.http.post("/search", json=query).json()["hits"][0] == {
        "id": "new",
        "score": 1.0,
        "payload": {"n": 1},
    } | {"score": pytest.approx(1.0, abs=1e-3)}
    assert server.http.get(f"{ITEMS}/new").json() == {"id": "new", "payload": {"n": 1}, "has_photo": False}
    assert server.http.delete(f"{ITEMS}/new").json()["deleted"] == "new"
    assert server.http.post("/search", json=query).json()["hits"][0]["id"] != "new"
    assert_problem(server.http.get(f"{ITEMS}/new"), 404, "unknown-item", "'new'")
    assert_problem(server.http.delete(f"{ITEMS}/new"), 404, "unknown-item", "'new'")


def test_replacing_an_item_leaves_one(server: RunningServer, headers: dict[str, str]) -> None:
    space = headers["Askew-Space"]
    before = server.http.get("/v1/galleries/objects").json()["items"]
    for seed in (2, 3):
        server.http.put(ITEMS, json={"space": space, "items": [_item("same", _unit(seed), seed=seed)]})
    assert server.http.get("/v1/galleries/objects").json()["items"] == before + 1
    query = {"vector": pack_base64(_unit(2)), "dtype": "f16le", "space": space, "limit": 1000}
    hits = [hit for hit in server.http.post("/search", json=query).json()["hits"] if hit["id"] == "same"]
    assert [hit["payload"] for hit in hits] == [{"seed": 3}]
    assert hits[0]["score"] < 0.9
    server.http.delete(f"{ITEMS}/same")


def test_a_batch_with_one_bad_vector_writes_nothing(server: RunningServer, headers: dict[str, str]) -> None:
    before = server.http.get("/v1/galleries/objects").json()["sequence"]
    bad = {"id": "bad", "vector": [0.0] * 64}
    answer = server.http.put(ITEMS, json={"space": headers["Askew-Space"], "items": [_item("good", _unit(4)), bad]})
    assert_problem(answer, 422, "not-normalised")
    assert server.http.get("/v1/galleries/objects").json()["sequence"] == before


def test_items_of_another_space_are_refused(server: RunningServer) -> None:
    answer = server.http.put(ITEMS, json={"space": "sp1-" + "f" * 32, "items": [_item("x", _unit(5))]})
    assert_problem(answer, 409, "space-mismatch")
    assert_problem(server.http.put(ITEMS, json={"items": [_item("x", _unit(5))]}), 422, "space-missing")


@pytest.mark.parametrize("identity", ["a/b", "100% sure", "%2F", "ä ö?#&", "..", "photo", "x" * 512])
def test_ids_of_any_printable_text(server: RunningServer, headers: dict[str, str], identity: str) -> None:
    from urllib.parse import quote

    url = f"{ITEMS}/{quote(identity, safe='').replace('.', '%2E')}"
    server.http.put(ITEMS, json={"space": headers["Askew-Space"], "items": [_item(identity, _unit(6))]})
    assert server.http.get(url).json()["id"] == identity
    assert server.http.delete(url).json()["deleted"] == identity


@pytest.mark.parametrize("identity", ["", "a\nb", "x" * 513])
def test_ids_that_are_refused(server: RunningServer, headers: dict[str, str], identity: str) -> None:
    answer = server.http.put(ITEMS, json={"space": headers["Askew-Space"], "items": [_item(identity, _unit(6))]})
    assert_problem(answer, 422, "validation", "id")


def test_listing_visits_every_item_once_in_the_order_of_ids(server: RunningServer) -> None:
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = server.http.get(ITEMS, params={"limit": 7, **cursor}).json()
        ids += [item["id"] for item in page["items"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert ids == sorted(ids)
    assert len(ids) == len(set(ids)) == server.http.get("/v1/galleries/objects").json()["items"]


def test_a_foreign_cursor_is_refused(server: RunningServer) -> None:
    assert_problem(server.http.get(f"{ITEMS}?cursor=%F0%9F"), 422, "validation", "cursor")


@pytest.mark.slow
def test_a_photo_is_described_by_the_teacher_and_served_for_display(
    server: RunningServer, teacher: Encoder, photo: Path
) -> None:
    content = photo.read_bytes()
    answer = server.http.put(
        f"{ITEMS}/by%20photo",
        params={"payload": '{"title": "Photo"}'},
        content=content,
        headers={"Content-Type": "image/jpeg"},
    )
    assert answer.json()["upserted"] == 1, answer.text
    item = server.http.get(f"{ITEMS}/by%20photo?with_vectors=true").json()
    assert item["vector"] == pack_base64(teacher.encode(photo))
    shown = server.http.get(f"{ITEMS}/by%20photo/photo")
    assert shown.content == content
    assert shown.headers["content-type"] == "image/jpeg"
    server.http.delete(f"{ITEMS}/by%20photo")
    # Another item still shows the same photo file.
    assert server.http.get(f"{ITEMS}/{photo.stem}/photo").content == content


def test_a_photo_with_its_vector_is_not_described_again(
    server: RunningServer, headers: dict[str, str], photo: Path
) -> None:
    vector = pack_base64(_unit(7))
    form = {"vector": vector, "dtype": "f16le", "space": headers["Askew-Space"], "payload": '{"a": 1}'}
    answer = server.http.put(f"{ITEMS}/form", data=form, files={"photo": photo.read_bytes()})
    assert answer.status_code == 200, answer.text
    assert server.http.get(f"{ITEMS}/form?with_vectors=true").json()["vector"] == vector
    server.http.delete(f"{ITEMS}/form")


def _png(width: int, height: int) -> bytes:
    """A PNG that states a size; its pixels are one deflated run, never allocated here."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def _thin() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (3000, 4)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "JPEG, PNG, WebP, HEIC or AVIF"),
        (b"no photo at all", "JPEG, PNG, WebP, HEIC or AVIF"),
        (b"\xff\xd8\xff\xe0 and then nothing", "Expected a whole JPEG"),
        (_png(10_000, 10_000), "100.0 megapixels"),
        (_thin(), "32 px"),
    ],
    ids=["empty", "text", "broken", "100 megapixels", "3000 x 4"],
)
def test_bad_photos_are_refused_and_the_server_keeps_working(
    server: RunningServer, photo: Path, content: bytes, word: str
) -> None:
    answer = server.http.put(f"{ITEMS}/bad", content=content, headers={"Content-Type": "image/jpeg"})
    assert_problem(answer, 422, "unreadable-photo", word)
    assert_problem(server.http.post("/search/photo", content=content), 422, "unreadable-photo", word)
    assert server.http.post("/search/photo", content=photo.read_bytes()).status_code == 200
    assert_problem(server.http.get(f"{ITEMS}/bad"), 404, "unknown-item")


def test_a_truncated_photo_is_refused(server: RunningServer, photo: Path) -> None:
    content = photo.read_bytes()
    answer = server.http.put(
        f"{ITEMS}/cut", content=content[: len(content) // 2], headers={"Content-Type": "image/jpeg"}
    )
    assert_problem(answer, 422, "unreadable-photo", "truncated")


@pytest.mark.parametrize("payload", ["[1]", "{", '{"a": NaN}'])
def test_payloads_that_are_not_json_objects(server: RunningServer, photo: Path, payload: str) -> None:
    answer = server.http.put(
        f"{ITEMS}/p", params={"payload": payload}, content=photo.read_bytes(), headers={"Content-Type": "image/jpeg"}
    )
    assert answer.status_code in {400, 422}, answer.text
    assert_problem(answer, answer.status_code, "invalid-json" if answer.status_code == 400 else "validation")


def test_payload_values_come_back_as_they_were(server: RunningServer, headers: dict[str, str]) -> None:
    payload = {"text": "ä\u2028", "n": 1, "x": 1.5, "yes": True, "none": None, "list": [1, {"a": []}]}
    server.http.put(ITEMS, json={"space": headers["Askew-Space"], "items": [_item("values", _unit(8), **payload)]})
    assert server.http.get(f"{ITEMS}/values").json()["payload"] == payload
    server.http.delete(f"{ITEMS}/values")


def test_nan_in_a_payload_is_refused(server: RunningServer, headers: dict[str, str]) -> None:
    text = json.dumps({"space": headers["Askew-Space"], "items": [_item("nan", _unit(9), x=float("nan"))]})
    answer = server.http.put(ITEMS, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text


def _raw(
    items: list[dict[str, object]], vectors: NDArray[np.float32], space: str | None, dtype: str = "f16le"
) -> bytes:
    header = json.dumps({"space": space, "dtype": dtype, "items": items}).encode()
    return struct.pack("<I", len(header)) + header + vectors.astype({"f16le": "<f2", "f32le": "<f4"}[dtype]).tobytes()


def _put_raw(server: RunningServer, body: bytes) -> httpx.Response:
    return server.http.put(ITEMS, content=body, headers={"Content-Type": "application/vnd.askew.items"})


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f16le", "f32le"])
def test_many_items_with_raw_vectors(server: RunningServer, headers: dict[str, str], dtype: str) -> None:
    vectors = np.stack([_unit(seed) for seed in range(3000)])
    items: list[dict[str, object]] = [{"id": f"raw-{n}", "payload": {"raw": n}} for n in range(3000)]
    before = server.http.get("/v1/galleries/objects").json()
    answer = _put_raw(server, _raw(items, vectors, headers["Askew-Space"], dtype))
    assert answer.json() == {"upserted": 3000, "sequence": before["sequence"] + 3000}
    item = server.http.get(f"{ITEMS}/raw-2999?with_vectors=true").json()
    assert (item["payload"], item["vector"]) == ({"raw": 2999}, pack_base64(vectors[2999]))
    query = {"vector": pack_base64(vectors[7]), "dtype": "f16le", "space": headers["Askew-Space"], "limit": 1}
    assert server.http.post("/search", json=query).json()["hits"][0]["id"] == "raw-7"
    deleted = server.http.post(f"{ITEMS}/delete", json={"filter": {"field": "raw", "exists": True}}).json()
    assert deleted == {"deleted": 3000, "sequence": before["sequence"] + 6000}
    assert server.http.get("/v1/galleries/objects").json()["items"] == before["items"]
    assert server.http.post("/search", json=query).json()["hits"][0]["id"] != "raw-7"


def test_the_last_of_a_repeated_id_counts(server: RunningServer, headers: dict[str, str]) -> None:
    items: list[dict[str, object]] = [{"id": "twice", "payload": {"n": 1}}, {"id": "twice", "payload": {"n": 2}}]
    _put_raw(server, _raw(items, np.stack([_unit(1), _unit(2)]), headers["Askew-Space"]))
    item = server.http.get(f"{ITEMS}/twice?with_vectors=true").json()
    assert (item["payload"], item["vector"]) == ({"n": 2}, pack_base64(_unit(2)))
    server.http.delete(f"{ITEMS}/twice")


def test_raw_items_that_are_refused_change_nothing(server: RunningServer, headers: dict[str, str]) -> None:
    space = headers["Askew-Space"]
    two: list[dict[str, object]] = [{"id": "good"}, {"id": "bad"}]
    good = np.stack([_unit(1), _unit(2)])
    before = server.http.get("/v1/galleries/objects").json()["sequence"]
    unnormalised, not_finite = good.copy(), good.copy()
    unnormalised[1] *= 2
    not_finite[1, 3] = np.nan
    whole = _raw(two, good, space)
    for body, status, slug, words in (
        (_raw(two, unnormalised, space), 422, "not-normalised", ["'bad'", "length 2"]),
        (_raw(two, not_finite, space), 422, "not-finite", ["'bad'"]),
        (whole[:-1], 422, "dimension-mismatch", ["256 bytes", "255"]),
        (whole + b"x", 422, "dimension-mismatch", ["257"]),
        (whole[:10], 422, "validation", ["10 bytes", "header"]),
        (b"", 422, "validation", ["0 bytes"]),
        (b"\xff\xff\xff\xff{}", 422, "validation", ["header"]),
        (struct.pack("<I", 1) + b"{" + whole, 400, "invalid-json", []),
        (_raw([], good[:0], space), 422, "validation", ["items"]),
        (_raw([{"id": ""}, {"id": "b"}], good, space), 422, "validation", ["id"]),
        (_raw(two, good, "sp1-" + "f" * 32), 409, "space-mismatch", []),
        (_raw(two, good, None), 422, "space-missing", []),
        (_raw(two, good, space).replace(b"f16le", b"f16be"), 415, "unsupported-dtype", ["f16le"]),
    ):
        assert_problem(_put_raw(server, body), status, slug, *words)
    wrong = server.http.put(ITEMS, content=whole, headers={"Content-Type": "application/octet-stream"})
    assert_problem(wrong, 415, "unsupported-media", "application/vnd.askew.items")
    assert server.http.get("/v1/galleries/objects").json()["sequence"] == before


def test_deleting_by_ids_passes_unknown_ones_over(server: RunningServer, headers: dict[str, str]) -> None:
    space = headers["Askew-Space"]
    server.http.put(ITEMS, json={"space": space, "items": [_item(f"gone-{n}", _unit(n)) for n in range(3)]})
    wanted = {"ids": ["gone-0", "gone-2", "never was", "gone-0"]}
    assert server.http.post(f"{ITEMS}/delete", json=wanted).json()["deleted"] == 2
    assert server.http.post(f"{ITEMS}/delete", json=wanted).json()["deleted"] == 0
    assert server.http.get(f"{ITEMS}/gone-1").status_code == 200
    server.http.delete(f"{ITEMS}/gone-1")
    wrongs: list[dict[str, object]] = [
        {}, {"ids": []}, {"ids": ["a"], "filter": {"field": "a", "exists": True}}, {"ids": ["a"], "x": 1}
    ]  # fmt: skip
    for wrong in wrongs:
        assert_problem(server.http.post(f"{ITEMS}/delete", json=wrong), 422, "validation")


def test_a_listing_shows_the_items_that_meet_a_filter(server: RunningServer) -> None:
    everything = server.http.get(f"{ITEMS}?limit=1000").json()["items"]
    expected = [item["id"] for item in everything if item["payload"].get("kind") == "tool"]
    found: list[str] = []
    params = {"filter": '{"field": "kind", "eq": "tool"}', "limit": "3"}
    while True:
        page = server.http.get(ITEMS, params=params).json()
        found += [item["id"] for item in page["items"]]
        if "next_cursor" not in page:
            break
        params["cursor"] = page["next_cursor"]
    assert found == expected
    assert len(found) > 3


@pytest.mark.slow
def test_reading_does_not_wait_for_writing(server: RunningServer, headers: dict[str, str]) -> None:
    vectors = np.stack([_unit(seed) for seed in range(10_000)])
    items: list[dict[str, object]] = [{"id": f"bulk-{n}", "payload": {"bulk": n}} for n in range(len(vectors))]
    body = _raw(items, vectors, headers["Askew-Space"])
    with ThreadPoolExecutor(1) as writer:
        began = time.perf_counter()
        writing = writer.submit(
            httpx.put,
            server.url + ITEMS,
            content=body,
            timeout=60,
            headers={"Content-Type": "application/vnd.askew.items"},
        )
        slowest = 0.0
        while not writing.done():
            asked = time.perf_counter()
            assert server.http.get(f"{ITEMS}?limit=1").status_code == 200
            slowest = max(slowest, time.perf_counter() - asked)
        assert writing.result().status_code == 200
        whole = time.perf_counter() - began
    assert slowest < whole / 2
    assert (
        server.http.post(f"{ITEMS}/delete", json={"filter": {"field": "bulk", "exists": True}}).json()["deleted"]
        == 10_000
    )
