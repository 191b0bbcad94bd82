"""Every endpoint has its method, and the two clients have the same ones."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from pydantic import JsonValue

from askew_client import AsyncClient, Client, Encoder
from askew_client.calls.search import SearchParams, WithPayload
from askew_client.contract.problems import ProblemKind
from askew_client.errors import ProblemError
from askew_server.http.openapi_document import openapi_text
from askew_server.http.routing import RouteMatch
from askew_server.http.search_query import options_of
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
JPEG = b"\xff\xd8\xff" + bytes(40)
G = "/v1/galleries/demo"

# The method's name, a call of it, and the request that it must make: method, path and query, JSON body.
CALLS: list[tuple[str, Callable[[Any], Any], str, object]] = [
    ("health", lambda c: c.health(), "GET /readyz", None),
    ("alive", lambda c: c.alive(), "GET /livez", None),
    ("version", lambda c: c.version(), "GET /version", None),
    ("replication", lambda c: c.replication(), "GET /v1/replication", None),
    (
        "promote",
        lambda c: c.promote(accept_loss=True, address="https://b"),
        "POST /v1/replication/promote",
        {"accept_loss": True, "address": "https://b"},
    ),
    ("metrics", lambda c: c.metrics(), "GET /metrics", None),
    ("explain_problem", lambda c: c.explain_problem("not-ready"), "GET /problems/not-ready", None),
    ("search", lambda c: c.search(VECTOR, space=SPACE), "POST /search?limit=10", None),
    ("search", lambda c: c.search(VECTOR, space=SPACE, gallery="demo"), f"POST {G}/search?limit=10", None),
    ("search_batch", lambda c: c.search_batch(VECTOR[None], space=SPACE), "POST /search/batch", None),
    (
        "search_batch",
        lambda c: c.search_batch(VECTOR[None], space=SPACE, gallery="demo"),
        f"POST {G}/search/batch",
        None,
    ),
    ("search_photo", lambda c: c.search_photo(JPEG), "POST /search/photo?limit=10", None),
    ("search_photo", lambda c: c.search_photo(JPEG, gallery="demo"), f"POST {G}/search/photo?limit=10", None),
    ("similar", lambda c: c.similar("a/b", gallery="demo"), f"GET {G}/items/a%2Fb/similar?limit=10", None),
    ("galleries", lambda c: c.galleries(), "GET /v1/galleries", None),
    ("gallery", lambda c: c.gallery("demo"), f"GET {G}", None),
    ("count", lambda c: c.count("demo"), f"GET {G}", None),
    ("count", lambda c: c.count(), "GET /v1/galleries", None),
    (
        "count",
        lambda c: c.count("demo", filter={"field": "n", "eq": 1}),
        f"POST {G}/items/count",
        {"filter": {"field": "n", "eq": 1}},
    ),
    ("count_items", lambda c: c.count_items(gallery="demo"), f"POST {G}/items/count", {}),
    ("count_items", lambda c: c.count_items(["a"], gallery="demo"), f"POST {G}/items/count", {"ids": ["a"]}),
    ("create_gallery", lambda c: c.create_gallery("demo", __file__), f"PUT {G}", None),
    ("delete_gallery", lambda c: c.delete_gallery("demo"), f"DELETE {G}", None),
    (
        "estimate_redescription",
        lambda c: c.estimate_redescription("demo", into="new"),
        f"POST {G}/redescribe",
        {"into": "new", "estimate_only": True},
    ),
    ("redescribe", lambda c: c.redescribe("demo", into="new"), f"POST {G}/redescribe", {"into": "new"}),
    (
        "estimate_teacher_change",
        lambda c: c.estimate_teacher_change("live", to="new"),
        "POST /v1/aliases/live/change-teacher",
        {"to": "new", "estimate_only": True},
    ),
    (
        "change_teacher",
        lambda c: c.change_teacher("live", to="new", accept_loss=True),
        "POST /v1/aliases/live/change-teacher",
        {"to": "new", "accept_loss": True, "hold_seconds": 10, "switch": True},
    ),
    ("index", lambda c: c.index("demo"), f"GET {G}/index", None),
    ("choose_index", lambda c: c.choose_index("demo", "exact"), f"PUT {G}/index", {"kind": "exact"}),
    ("rebuild_index", lambda c: c.rebuild_index("demo"), f"POST {G}/index/rebuild", None),
    ("aliases", lambda c: c.aliases(), "GET /v1/aliases", None),
    ("set_alias", lambda c: c.set_alias("live", "demo"), "PUT /v1/aliases/live", {"gallery": "demo"}),
    ("delete_alias", lambda c: c.delete_alias("live"), "DELETE /v1/aliases/live", None),
    ("upsert", lambda c: c.upsert(["a"], VECTOR[None], gallery="demo", space=SPACE), f"PUT {G}/items", None),
    (
        "upsert_items",
        lambda c: c.upsert_items(iter([("a", VECTOR, {})]), gallery="demo", space=SPACE),
        f"PUT {G}/items",
        None,
    ),
    ("upsert_photo", lambda c: c.upsert_photo("a", JPEG, gallery="demo"), f"PUT {G}/items/a", None),
    ("upsert_photos", lambda c: c.upsert_photos({"a": JPEG}, gallery="demo"), f"POST {G}/items/photos", None),
    ("items", lambda c: list(c.items(gallery="demo")), f"GET {G}/items?limit=1000&with_vectors=false", None),
    (
        "item_page",
        lambda c: c.item_page(gallery="demo", cursor="x"),
        f"GET {G}/items?limit=1000&with_vectors=false&cursor=x",
        None,
    ),
    ("item", lambda c: c.item("a", gallery="demo"), f"GET {G}/items/a?with_vectors=false", None),
    ("photo", lambda c: c.photo("a", gallery="demo"), f"GET {G}/items/a/photo", None),
    ("delete_item", lambda c: c.delete_item("a", gallery="demo"), f"DELETE {G}/items/a", None),
    ("delete_items", lambda c: c.delete_items(["a"], gallery="demo"), f"POST {G}/items/delete", {"ids": ["a"]}),
    ("jobs", lambda c: c.jobs(gallery="demo"), "GET /v1/jobs?gallery=demo&limit=100", None),
    ("job", lambda c: c.job("j1"), "GET /v1/jobs/j1", None),
    ("wait", lambda c: c.wait("j1"), "GET /v1/jobs/j1", None),
    ("cancel_job", lambda c: c.cancel_job("j1"), "POST /v1/jobs/j1/cancel", None),
    ("admit", lambda c: c.admit(__file__, gallery="demo"), f"POST {G}/encoders", None),
    ("retire_encoder", lambda c: c.retire_encoder("s@1", gallery="demo"), f"DELETE {G}/encoders/s%401", None),
    (
        "set_default_encoder",
        lambda c: c.set_default_encoder("s@1", gallery="demo", runtime="web"),
        f"PUT {G}/encoders/s%401/default",
        {"runtime": "web"},
    ),
    ("encoders", lambda c: c.encoders(), "GET /v1/encoders", None),
    (
        "best_encoder",
        lambda c: c.best_encoder(gallery="demo", runtime="ios", max_bytes=9, max_milliseconds=1.5),
        "GET /v1/encoders/best?gallery=demo&runtime=ios&max_bytes=9&max_milliseconds=1.5",
        None,
    ),
    ("encoder", lambda c: c.encoder("s@1", gallery="demo"), "GET /v1/encoders/s%401?gallery=demo", None),
    ("encoder_manifest", lambda c: c.encoder_manifest("s@1"), "GET /v1/encoders/s%401/manifest", None),
    ("download_encoder", lambda c: c.download_encoder("s@1", "/tmp/none"), "GET /v1/encoders/s%401/file", None),
    ("put_probe", lambda c: c.put_probe("p", JPEG, gallery="demo"), f"PUT {G}/probes/p", None),
    ("probes", lambda c: c.probes(gallery="demo"), f"GET {G}/probes", None),
    ("delete_probe", lambda c: c.delete_probe("p", gallery="demo"), f"DELETE {G}/probes/p", None),
    ("offline_pack", lambda c: c.offline_pack("demo"), f"GET {G}/offline-pack", None),
    (
        "allow_offline_pack",
        lambda c: c.allow_offline_pack(["title"], gallery="demo", thumbnails=160),
        f"PUT {G}/offline-pack",
        {"fields": ["title"], "thumbnails": 160, "refresh_minutes": 60},
    ),
    ("make_offline_pack", lambda c: c.make_offline_pack(gallery="demo"), f"POST {G}/offline-pack", None),
    ("withdraw_offline_pack", lambda c: c.withdraw_offline_pack(gallery="demo"), f"DELETE {G}/offline-pack", None),
    (
        "download_offline_pack",
        lambda c: c.download_offline_pack("/tmp/none", gallery="demo"),
        f"GET {G}/offline-pack/file",
        None,
    ),
    ("snapshots", lambda c: c.snapshots(gallery="demo"), f"GET {G}/snapshots", None),
    ("create_snapshot", lambda c: c.create_snapshot(gallery="demo"), f"POST {G}/snapshots", None),
    (
        "download_snapshot",
        lambda c: c.download_snapshot("n", "/tmp/none", gallery="demo"),
        f"GET {G}/snapshots/n",
        None,
    ),
    ("delete_snapshot", lambda c: c.delete_snapshot("n", gallery="demo"), f"DELETE {G}/snapshots/n", None),
    ("verify_snapshot", lambda c: c.verify_snapshot("n", gallery="demo"), f"POST {G}/snapshots/n/verify", None),
    (
        "restore",
        lambda c: c.restore("demo", gallery="old", snapshot="n"),
        f"POST {G}/restore",
        {"gallery": "old", "snapshot": "n"},
    ),
    ("restore_file", lambda c: c.restore_file("demo", __file__), f"POST {G}/restore", None),
    (
        "create_key",
        lambda c: c.create_key("app", ["search"], galleries=["demo"], expires_at=datetime(2030, 1, 1, tzinfo=UTC)),
        "POST /v1/keys",
        {"name": "app", "scopes": ["search"], "galleries": ["demo"], "expires_at": "2030-01-01T00:00:00+00:00"},
    ),
    ("keys", lambda c: c.keys(), "GET /v1/keys", None),
    ("revoke_key", lambda c: c.revoke_key("k1"), "DELETE /v1/keys/k1", None),
]
# Another name of GET /livez.
SYNONYMS = {"GET /healthz"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("called", "call", "wanted", "body"), CALLS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_each_method_makes_its_request(
    server: ScriptedServer, client: Client, called: str, call: Callable[[Any], Any], wanted: str, body: object
) -> None:
    server.problem(ProblemKind.INTERNAL)
    with pytest.raises(ProblemError):
        call(client)
    (request,) = server.requests
    assert f"{request.method} {request.path}" == wanted
    assert request.headers["authorization"] == "Bearer secret"
    if body is not None:
        assert (request.headers["content-type"], request.json) == ("application/json", body)


def test_every_endpoint_has_its_method() -> None:
    paths: dict[str, dict[str, object]] = json.loads(openapi_text())["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert len(operations) > 40
    requests = [wanted.partition("?")[0] for _, _, wanted, _ in CALLS]
    patterns = {each: re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(each))) for each in operations}
    assert {each for each in operations if not any(map(patterns[each].fullmatch, requests))} <= SYNONYMS
    assert [each for each in requests if not any(pattern.fullmatch(each) for pattern in patterns.values())] == []


def public_methods(kind: type) -> dict[str, Any]:
    return {name: method for name, method in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_every_method_is_in_the_table() -> None:
    # search_with makes the request of search: see test_client.py.
    assert set(public_methods(Client)) - {"close", "search_with"} == {name for name, *_ in CALLS}


def test_the_two_clients_have_the_same_methods() -> None:
    ours, theirs = public_methods(Client), public_methods(AsyncClient)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        twin = theirs[name]
        assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin), name
        assert inspect.getdoc(method) == inspect.getdoc(twin), name
        assert _signature(method) == _signature(twin), name
    assert _signature(Client.__init__) == _signature(AsyncClient.__init__)


def _signature(method: Any) -> str:
    return str(inspect.signature(method)).replace("AsyncItems", "Items").replace("AsyncIterator", "Iterator")


def test_search_options_are_sent_as_query_parameters_and_as_json(server: ScriptedServer, client: Client) -> None:
    server.problem(ProblemKind.INTERNAL)
    options: SearchParams = {
        "limit": 3,
        "score_threshold": 0.5,
        "max_false_match": 0.01,
        "filter": {"field": "kind", "in": ["a", "ö"]},
        "exclude": ["a/b", "c&d"],
        "with_payload": ["title", "kind"],
        "with_vectors": True,
        "group_by": "kind",
        "group_size": 2,
        "exact": True,
    }
    for search in (
        lambda: client.search(VECTOR, space=SPACE, **options),
        lambda: client.search_photo(JPEG, **options),
        lambda: client.search_batch(VECTOR[None], space=SPACE, **options),
    ):
        with pytest.raises(ProblemError):
            search()
    raw, photo, batch = server.requests
    query = raw.path.partition("?")[2]
    assert photo.path.partition("?")[2] == query
    repeated = {
        "limit": ["3"],
        "score_threshold": ["0.5"],
        "max_false_match": ["0.01"],
        "filter": [json.dumps(options["filter"], ensure_ascii=False, separators=(",", ":"))],
        "exclude": ["a/b", "c&d"],
        "with_payload": ["title", "kind"],
        "with_vectors": ["true"],
        "group_by": ["kind"],
        "group_size": ["2"],
        "exact": ["true"],
    }
    assert parse_qs(query) == repeated
    assert {name: value for name, value in batch.json.items() if name != "queries"} == options


def test_the_server_reads_the_options_that_the_client_was_given(server: ScriptedServer, client: Client) -> None:
    server.problem(ProblemKind.INTERNAL)
    condition: dict[str, JsonValue] = {"field": "kind", "eq": "landmark"}
    payloads: list[tuple[WithPayload, WithPayload]] = [
        (["title"], ["title"]),
        (["a", "b"], ["a", "b"]),
        (False, False),
        ([], False),
        (True, True),
    ]
    for payload, wanted in payloads:
        server.requests.clear()
        with pytest.raises(ProblemError):
            client.search(
                VECTOR, space=SPACE, filter=condition, exclude=["x y"], with_payload=payload, group_by="k", group_size=3
            )
        read = options_of(server.requests[0].path.partition("?")[2].encode(), RouteMatch())
        assert read.with_payload == wanted
        assert (read.exclude, read.group_by, read.group_size, read.exact) == (["x y"], "k", 3, False)
        assert read.filter is not None
        assert read.filter.model_dump() == condition


def test_search_with_passes_its_options_to_search(
    server: ScriptedServer, client: Client, student_file: Path, photos: list[Path]
) -> None:
    server.problem(ProblemKind.INTERNAL)
    encoder = Encoder(student_file)
    options: SearchParams = {
        "limit": 3,
        "score_threshold": 0.1,
        "exclude": ["a"],
        "with_payload": False,
        "with_vectors": True,
        "group_by": "k",
        "group_size": 2,
        "exact": True,
    }
    with pytest.raises(ProblemError):
        client.search_with(encoder, photos[0], **options)
    query = server.requests[0].path.partition("?")[2]
    assert query == (
        "limit=3&score_threshold=0.1&exclude=a&with_payload=false&with_vectors=true&group_by=k&group_size=2&exact=true"
    )


@pytest.mark.parametrize(
    ("called", "search"),
    [
        ("search", lambda c, **o: c.search(VECTOR, space=SPACE, **o)),
        ("search_batch", lambda c, **o: c.search_batch(VECTOR[None], space=SPACE, **o)),
        ("search_photo", lambda c, **o: c.search_photo(JPEG, **o)),
        ("similar", lambda c, **o: c.similar("a", gallery="demo", **o)),
        # The encoder and the photo are not looked at.
        ("search_with", lambda c, **o: c.search_with(None, b"", **o)),
    ],
)
def test_an_unknown_option_is_a_type_error(
    server: ScriptedServer, client: Client, called: str, search: Callable[..., Any]
) -> None:
    with pytest.raises(TypeError, match=rf"^{called}\(\) got an unexpected keyword argument 'limits'$"):
        search(client, limit=3, limits=4)
    assert not server.requests


def test_similar_has_no_share_of_false_matches(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(TypeError, match="max_false_match"):
        client.similar("a", gallery="demo", max_false_match=0.01)  # type: ignore[call-arg]
    assert not server.requests


def test_options_that_are_none_are_omitted(server: ScriptedServer, client: Client) -> None:
    server.problem(ProblemKind.INTERNAL)
    with pytest.raises(ProblemError):
        client.search(VECTOR, space=SPACE, score_threshold=None, max_false_match=None, filter=None, group_by=None)
    assert server.requests[0].path == "/search?limit=10"
