"""POST /search in each of its forms, and every way to get it wrong."""

from __future__ import annotations

import base64
import json
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

Query = NDArray[np.float32]
Items = Sequence[Mapping[str, object]]


@pytest.fixture
def store(server: RunningServer, headers: dict[str, str]) -> Iterator[Callable[[Items], None]]:
    """Stores items in the server of the module; they are deleted when the test ends, whichever way."""
    ids: list[str] = []

    def put(items: Items) -> None:
        body = {"space": headers["Askew-Space"], "items": list(items)}
        assert server.http.put("/v1/galleries/objects/items", json=body).status_code == 200
        ids.extend(str(item["id"]) for item in items)

    yield put
    if ids:
        server.http.post("/v1/galleries/objects/items/delete", json={"ids": ids})


def test_raw_base64_and_list_queries_find_the_same(
    server: RunningServer, query: Query, body: bytes, headers: dict[str, str], photo: Path
) -> None:
    space = headers["Askew-Space"]
    raw = server.http.post("/search?limit=3", content=body, headers=headers).json()
    encoded = {"vector": pack_base64(query), "dtype": "f16le", "space": space, "limit": 3}
    listed = {"vector": query.astype(np.float16).astype(float).tolist(), "space": space, "limit": 3}
    assert raw["hits"][0]["id"] == photo.stem
    assert raw["hits"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert raw["space"] == space
    assert raw["gallery"] == "objects"
    assert server.http.post("/search", json=encoded).json() == raw
    assert server.http.post("/v1/galleries/objects/search", json=listed).json() == raw


def test_batch_answers_are_the_single_answers(server: RunningServer, teacher: Encoder, indexed: Path) -> None:
    vectors = teacher.encode(sorted((indexed / "photos").iterdir())[:20])
    queries = [{"vector": pack_base64(v), "dtype": "f16le", "space": teacher.space_id} for v in vectors]
    batch = server.http.post("/search/batch", json={"queries": queries, "limit": 7}).json()
    singles = [server.http.post("/search", json={**query, "limit": 7}).json()["hits"] for query in queries]
    assert [result["hits"] for result in batch["results"]] == singles


def test_hits_equal_an_exact_search_over_the_stored_vectors(
    server: RunningServer, query: Query, body: bytes, headers: dict[str, str]
) -> None:
    page = server.http.get("/v1/galleries/objects/items?limit=1000&with_vectors=true").json()["items"]
    stored = {i["id"]: np.frombuffer(base64.b64decode(i["vector"]), "<f2").astype(np.float64) for i in page}
    sent = query.astype(np.float16).astype(np.float64)
    expected = sorted(((-round(min(1.0, float(v @ sent)), 6), i) for i, v in stored.items()))[:10]
    hits = server.http.post("/search", content=body, headers=headers).json()["hits"]
    assert [hit["id"] for hit in hits] == [identity for _, identity in expected]
    assert [hit["score"] for hit in hits] == pytest.approx([-score for score, _ in expected], abs=1e-6)


def test_equal_scores_are_ordered_by_id_for_every_limit(
    server: RunningServer, query: Query, headers: dict[str, str], store: Callable[[Items], None]
) -> None:
    twins = [{"id": f"twin-{i:02d}", "vector": pack_base64(query), "dtype": "f16le"} for i in reversed(range(30))]
    store(twins)
    for limit in (1, 2, 5, 29):
        hits = server.http.post(f"/search?limit={limit}", content=pack(query), headers=headers).json()["hits"]
        ids = [hit["id"] for hit in hits if hit["id"].startswith("twin")]
        assert ids == sorted(ids)[:limit]
        assert "twin-00" in ids or limit == 1


@pytest.mark.parametrize(
    ("condition", "kinds"),
    [
        ({"field": "kind", "eq": "tool"}, {"tool"}),
        ({"field": "kind", "in": ["tool", "fish"]}, {"tool", "fish"}),
        ({"and": [{"field": "kind", "exists": True}, {"or": [{"field": "kind", "eq": "energy"}]}]}, {"energy"}),
        ({"not": {"field": "kind", "eq": "tool"}}, None),
    ],
)
def test_filter_keeps_recall(
    server: RunningServer, body: bytes, headers: dict[str, str], condition: dict[str, object], kinds: set[str] | None
) -> None:
    """`kinds`: of the photos that meet the condition; None: all but tools."""
    everything = server.http.post("/search?limit=1000", content=body, headers=headers).json()["hits"]
    params: dict[str, str | int] = {"filter": json.dumps(condition), "limit": 5}
    hits = server.http.post("/search", params=params, content=body, headers=headers).json()["hits"]
    wanted = {hit["payload"]["kind"] for hit in everything} - {"tool"} if kinds is None else kinds
    expected = [hit for hit in everything if hit["payload"]["kind"] in wanted]
    assert len(expected) >= 5
    assert hits == expected[:5]


def test_filter_types_are_not_converted(
    server: RunningServer, query: Query, headers: dict[str, str], store: Callable[[Items], None]
) -> None:
    payloads = {"n-int": {"n": 1}, "n-text": {"n": "1"}, "n-true": {"n": True}, "n-deep": {"a": {"n": 1.5}}}
    items = [
        {"id": i, "vector": pack_base64(query), "dtype": "f16le", "payload": payload} for i, payload in payloads.items()
    ]
    store(items)

    def found(condition: dict[str, object]) -> set[str]:
        params: dict[str, str | int] = {"filter": json.dumps(condition), "limit": 100}
        hits = server.http.post("/search", params=params, content=pack(query), headers=headers).json()["hits"]
        return {hit["id"] for hit in hits if hit["id"].startswith("n-")}

    assert found({"field": "n", "eq": 1}) == {"n-int"}
    assert found({"field": "n", "eq": "1"}) == {"n-text"}
    assert found({"field": "n", "eq": True}) == {"n-true"}
    assert found({"field": "a.n", "range": {"gt": 1, "lte": 1.5}}) == {"n-deep"}
    assert found({"field": "n", "range": {"gte": 0}}) == {"n-int"}
    assert found({"field": "n", "exists": False}) == {"n-deep"}
    assert found({"not": {"field": "n", "eq": 1}}) == {"n-text", "n-true", "n-deep"}


def test_threshold_leaves_out_lower_scores(server: RunningServer, body: bytes, headers: dict[str, str]) -> None:
    hits = server.http.post("/search?limit=1000&score_threshold=0.5", content=body, headers=headers).json()["hits"]
    assert hits
    assert all(hit["score"] >= 0.5 for hit in hits)


@pytest.mark.slow
def test_search_by_photo(server: RunningServer, photo: Path) -> None:
    answer = server.http.post("/search/photo?limit=1", content=photo.read_bytes())
    assert answer.json()["hits"][0]["id"] == photo.stem
    assert answer.json()["encoder"] == "teacher@1"
    assert "search;dur=" in answer.headers["server-timing"]


@pytest.mark.slow
def test_photo_search_is_off_unless_enabled(data: Path, photo: Path, body: bytes, headers: dict[str, str]) -> None:
    with RunningServer(data, "--gallery", "objects", "--allow-missing-space") as running:
        answer = running.http.post("/search/photo", content=photo.read_bytes())
        assert_problem(answer, 403, "photo-search-off", "--photo-search")
        without = {name: value for name, value in headers.items() if name != "Askew-Space"}
        assert running.http.post("/search", content=body, headers=without).status_code == 200


def test_foreign_space_is_refused_with_both_spaces_and_the_admitted_encoders(
    server: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    foreign = "sp1-" + "0" * 32
    answer = server.http.post("/search", content=body, headers={**headers, "Askew-Space": foreign})
    problem = assert_problem(answer, 409, "space-mismatch", foreign, headers["Askew-Space"], "teacher@1")
    assert problem["expected"] == headers["Askew-Space"]
    assert problem["received"] == foreign
    assert problem["admitted_encoders"] == ["teacher@1"]


def test_an_encoder_that_was_not_admitted_is_refused(
    server: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    answer = server.http.post("/search", content=body, headers={**headers, "Askew-Encoder": "other@7"})
    assert_problem(answer, 409, "encoder-not-admitted", "other@7", "teacher@1")


@pytest.mark.parametrize(
    ("change", "status", "slug", "word"),
    [
        ({"Askew-Space": None}, 422, "space-missing", "Askew-Space"),
        ({"Askew-Space": "rubbish"}, 409, "space-mismatch", "not a space id"),
        ({"Askew-Dtype": None}, 415, "unsupported-dtype", "none came"),
        ({"Askew-Dtype": "f16"}, 415, "unsupported-dtype", "f16le or f32le"),
        ({"Askew-Dtype": "f32le"}, 422, "dimension-mismatch", "which is the length of f16le"),
        ({"Content-Type": "text/plain"}, 415, "unsupported-media", "application/json"),
        ({"Content-Type": None}, 415, "unsupported-media", "none"),
    ],
)
def test_wrong_headers(
    server: RunningServer,
    body: bytes,
    headers: dict[str, str],
    change: dict[str, str | None],
    status: int,
    slug: str,
    word: str,
) -> None:
    sent = {name: value for name, value in {**headers, **change}.items() if value is not None}
    assert_problem(server.http.post("/search", content=body, headers=sent), status, slug, word)


@pytest.mark.parametrize(
    ("vector", "slug"),
    [
        (np.full(64, np.nan), "not-finite"),
        (np.full(64, np.inf), "not-finite"),
        (np.zeros(64), "not-normalised"),
        (np.full(64, 1.0), "not-normalised"),
        (np.full(63, 1 / 8), "dimension-mismatch"),
        (np.full(0, 1 / 8), "dimension-mismatch"),
    ],
)
def test_wrong_vectors(server: RunningServer, headers: dict[str, str], vector: Query, slug: str) -> None:
    sent = vector.astype(np.float32)
    assert_problem(server.http.post("/search", content=pack(sent), headers=headers), 422, slug)
    if slug != "not-finite":
        listed = {"vector": sent.tolist(), "space": headers["Askew-Space"]}
        assert_problem(server.http.post("/search", json=listed), 422, slug)


@pytest.mark.parametrize(
    ("text", "status", "slug"),
    [
        ("{", 400, "invalid-json"),
        ("", 400, "invalid-json"),
        ("[" * 100_000, 400, "invalid-json"),
        ("[1]", 422, "validation"),
        ('{"vector": "###", "dtype": "f16le"}', 422, "space-missing"),
        ('{"vector": {"a": 1}}', 422, "validation"),
        ('{"vektor": [1]}', 422, "validation"),
        ('{"vector": [1], "limit": 0}', 422, "validation"),
        ('{"vector": [1], "limit": 1001}', 422, "validation"),
        ('{"vector": [1], "score_threshold": 0.1, "max_false_match": 0.1}', 422, "validation"),
        ('{"vector": [1], "filter": {"field": "a"}}', 422, "validation"),
    ],
)
def test_wrong_json(server: RunningServer, text: str, status: int, slug: str) -> None:
    answer = server.http.post("/search", content=text, headers={"Content-Type": "application/json"})
    assert_problem(answer, status, slug)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", ""])
def test_limit_out_of_range(server: RunningServer, body: bytes, headers: dict[str, str], limit: str) -> None:
    answer = server.http.post(f"/search?limit={limit}", content=body, headers=headers)
    assert_problem(answer, 422, "validation", "limit")


def test_not_base64(server: RunningServer, headers: dict[str, str]) -> None:
    sent = {"vector": "###", "dtype": "f16le", "space": headers["Askew-Space"]}
    assert_problem(server.http.post("/search", json=sent), 422, "validation", "base64")


def test_a_filter_nested_too_deep_is_refused(server: RunningServer, body: bytes, headers: dict[str, str]) -> None:
    condition: dict[str, object] = {"field": "kind", "eq": "tool"}
    for _ in range(9):
        condition = {"not": condition}
    answer = server.http.post("/search", params={"filter": json.dumps(condition)}, content=body, headers=headers)
    assert_problem(answer, 422, "validation", "levels")


def test_unknown_gallery_names_the_known_ones(server: RunningServer, body: bytes, headers: dict[str, str]) -> None:
    answer = server.http.post("/v1/galleries/nothing/search", content=body, headers=headers)
    assert_problem(answer, 404, "unknown-gallery", "'nothing'", "objects")


def test_a_body_too_large_is_refused_whether_or_not_its_length_is_stated(
    server: RunningServer, headers: dict[str, str]
) -> None:
    assert_problem(server.http.post("/search", content=b"x" * 33_000_000, headers=headers), 413, "payload-too-large")
    chunks = (b"x" * 1_000_000 for _ in range(33))
    try:
        answer = httpx.post(f"{server.url}/search", content=chunks, headers=headers, timeout=30)
    except (httpx.WriteError, httpx.ReadError):
        return  # the server closed the connection before all was sent, which is its right
    assert_problem(answer, 413, "payload-too-large", "2000000")


def test_a_request_that_is_not_http_does_no_harm(server: RunningServer, body: bytes, headers: dict[str, str]) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"\x00\xff rubbish\r\n\r\n")
        connection.recv(1_000)
    assert server.http.post("/search", content=body, headers=headers).status_code == 200


def test_unknown_paths_and_methods_are_problems(server: RunningServer) -> None:
    assert_problem(server.http.get("/nothing/here"), 404, "unknown-path", "/nothing/here")
    answer = server.http.get("/search")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    # Each of these methods is a separate route.
    assert server.http.patch("/v1/galleries/objects/items/a").headers["allow"] == "GET, PUT, DELETE"
    assert server.http.post("/page/").headers["allow"] == "GET, HEAD"
    assert_problem(server.http.get("/page/../../settings.py"), 404, "unknown-path")
    assert_problem(server.http.get("/page/%2e%2e/settings.py"), 404, "unknown-path")


@pytest.mark.slow
def test_an_unforeseen_failure_is_a_problem_without_its_inside(data: Path) -> None:
    with RunningServer(data, "--gallery", "objects") as running:
        # Only the server writes to its database, so it does not expect this.
        with sqlite3.connect(data / "galleries/objects/gallery.db") as database:
            database.execute("ALTER TABLE vectors RENAME TO gone")
        answer = running.http.get("/v1/galleries/objects/items?limit=1&with_vectors=true")
        assert_problem(answer, 500, "internal", "its log has request")
        assert str(data) not in answer.text


def _near(query: Query, seed: int, cosine: float) -> str:
    """base64 of a unit vector that has this cosine with the query."""
    other = np.random.default_rng(seed).standard_normal(64)
    other -= (other @ query) * query
    other /= np.linalg.norm(other)
    return pack_base64((cosine * query + (1 - cosine**2) ** 0.5 * other).astype(np.float32))


def test_excluded_items_are_left_out_and_others_take_their_place(
    server: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    everything = server.http.post("/search?limit=12", content=body, headers=headers).json()["hits"]
    excluded = [everything[0]["id"], everything[3]["id"]]
    expected = [hit for hit in everything if hit["id"] not in excluded][:10]
    params = [("exclude", identity) for identity in excluded]
    raw = server.http.post("/search", params=params, content=body, headers=headers).json()["hits"]
    assert raw == expected
    asked = {"vector": base64.b64encode(body).decode(), "dtype": "f16le", "space": headers["Askew-Space"]}
    assert server.http.post("/search", json={**asked, "exclude": excluded}).json()["hits"] == expected
    batch = {"queries": [asked], "exclude": excluded}
    assert server.http.post("/search/batch", json=batch).json()["results"][0]["hits"] == expected
    assert_problem(server.http.post("/search", json={**asked, "exclude": ["x"] * 101}), 422, "validation", "exclude")


def test_hits_carry_the_requested_fields(
    server: RunningServer, query: Query, headers: dict[str, str], store: Callable[[Items], None]
) -> None:
    payload = {"title": "ä", "place": {"city": "Arles", "zip": 13200}, "none": None}
    vector = pack_base64(query)
    store([{"id": "a-first", "vector": vector, "dtype": "f16le", "payload": payload}])

    def first(*params: tuple[str, str]) -> dict[str, object]:
        answer = server.http.post("/search", params=params, content=pack(query), headers=headers)
        hit: dict[str, object] = answer.json()["hits"][0]
        assert hit.pop("id") == "a-first", answer.text
        assert hit.pop("score") == pytest.approx(1.0, abs=1e-3)
        return hit

    assert first() == {"payload": payload}
    assert first(("with_payload", "false")) == {}
    assert first(("with_payload", "title")) == {"payload": {"title": "ä"}}
    fields = [("with_payload", name) for name in ("place.city", "none", "missing", "title.x")]
    assert first(*fields) == {"payload": {"place": {"city": "Arles"}, "none": None}}
    assert first(("with_payload", "false"), ("with_vectors", "true")) == {"vector": vector, "dtype": "f16le"}


def test_a_group_is_found_once_however_many_of_it_are_near(
    server: RunningServer, query: Query, headers: dict[str, str], store: Callable[[Items], None]
) -> None:
    space = headers["Askew-Space"]
    items = [
        {"id": f"g-{n:03d}", "vector": _near(query, n, 0.999 - n / 1000), "dtype": "f16le", "payload": {"shelf": shelf}}
        for n, shelf in enumerate([*["full"] * 120, "second", 3, "second", True, 1.5, 3, None, [1]])
    ]
    store(items)
    asked = {"vector": pack_base64(query), "dtype": "f16le", "space": space, "group_by": "shelf"}

    def groups(**options: object) -> list[tuple[object, str]]:
        answer = server.http.post("/search", json={**asked, **options})
        assert answer.status_code == 200, answer.text
        return [(hit["group"], hit["id"]) for hit in answer.json()["hits"]]

    first_of_each = [("full", "g-000"), ("second", "g-120"), (3, "g-121"), (True, "g-123"), (1.5, "g-124")]
    assert groups() == first_of_each
    assert groups(limit=3) == first_of_each[:3]
    assert groups(limit=3, group_size=2) == [
        ("full", "g-000"), ("full", "g-001"), ("second", "g-120"), (3, "g-121"), ("second", "g-122"), (3, "g-125"),
    ]  # fmt: skip
    assert groups(exclude=["g-120"], limit=2) == [("full", "g-000"), (3, "g-121")]
    assert groups(filter={"field": "shelf", "in": ["second", 3]}) == first_of_each[1:3]
    assert groups(score_threshold=0.9) == [("full", "g-000")]
    batch = {"queries": [{k: asked[k] for k in ("vector", "dtype", "space")}] * 2, "group_by": "shelf", "limit": 2}
    results = server.http.post("/search/batch", json=batch).json()["results"]
    assert [[hit["id"] for hit in result["hits"]] for result in results] == [["g-000", "g-120"]] * 2
    assert server.http.post("/search", json={**asked, "group_by": "nobody"}).json()["hits"] == []


def test_exact_search_of_an_exact_gallery_is_the_same(
    server: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    answers = [
        server.http.post(f"/search?exact={on}", content=body, headers=headers).json() for on in ("true", "false")
    ]
    assert answers[0] == answers[1]
    assert answers[0]["exact"] is True


def test_an_unknown_parameter_of_a_raw_query_is_refused(
    server: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    answer = server.http.post("/search?score_treshold=0.5", content=body, headers=headers)
    assert_problem(answer, 422, "validation", "'score_treshold'", "score_threshold")


def test_a_filter_value_of_a_type_that_the_field_never_has_is_refused(
    server: RunningServer, body: bytes, headers: dict[str, str]
) -> None:
    for condition, words in (
        ({"field": "kind", "range": {"gt": 3}}, ["'kind'", "text", "number"]),
        ({"field": "kind", "eq": True}, ["'kind'", "text", "boolean"]),
        ({"not": {"field": "kind", "in": ["tool", 5]}}, ["'kind'", "text", "5"]),
    ):
        params = {"filter": json.dumps(condition)}
        assert_problem(
            server.http.post("/search", params=params, content=body, headers=headers), 422, "validation", *words
        )
        assert_problem(server.http.get("/v1/galleries/objects/items", params=params), 422, "validation", *words)
        deleting = server.http.post("/v1/galleries/objects/items/delete", json={"filter": condition})
        assert_problem(deleting, 422, "validation", *words)
    # A field that no item has yet may get any value.
    params = {"filter": json.dumps({"field": "year", "range": {"gt": 1900}})}
    assert server.http.post("/search", params=params, content=body, headers=headers).json()["hits"] == []


def test_similar_items_are_those_that_the_items_own_vector_finds(server: RunningServer, photo: Path) -> None:
    url = f"/v1/galleries/objects/items/{photo.stem}"
    item = server.http.get(f"{url}?with_vectors=true").json()
    space = server.http.get("/v1/galleries/objects").json()["space"]
    asked = {"vector": item["vector"], "dtype": "f16le", "space": space, "limit": 6}
    expected = [hit for hit in server.http.post("/search", json=asked).json()["hits"] if hit["id"] != photo.stem][:5]
    assert server.http.get(f"{url}/similar?limit=5").json()["hits"] == expected
    filtered = server.http.get(f"{url}/similar", params={"filter": '{"field": "kind", "eq": "tool"}', "limit": 1})
    assert filtered.json()["hits"][0]["payload"]["kind"] == "tool"
    assert_problem(server.http.get("/v1/galleries/objects/items/nothing/similar"), 404, "unknown-item", "'nothing'")
    assert_problem(server.http.get(f"{url}/similar?limit=0"), 422, "validation", "limit")
    assert_problem(server.http.get(f"{url}/similar?max_false_match=0.1"), 422, "validation", "score_threshold")


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": True},
        {"limit": "3"},
        {"limit": 3.5},
        {"exact": 1},
        {"with_vectors": "yes"},
        {"score_threshold": "0.5"},
    ],
)
def test_types_of_json_are_not_converted(server: RunningServer, wrong: dict[str, object]) -> None:
    space = server.http.get("/v1/galleries/objects").json()["space"]
    query = {"vector": [1.0, *[0.0] * 63], "space": space, **wrong}
    answer = server.http.post("/v1/galleries/objects/search", json=query)
    assert_problem(answer, 422, "validation", next(iter(wrong)))
