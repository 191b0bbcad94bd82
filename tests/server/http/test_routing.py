"""One look at a request's path: every route declares its rules, and nothing decides by another reading of the path."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from fastapi import Response
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew_client.contract.keys import Scope
from askew_client.encoding.encoder import Encoder
from askew_server.auth.permissions import Reach
from askew_server.http.app import all_routes
from askew_server.http.routing import BodyKind, RouteTable, decode_path, make_router, open_to_all, rules_of
from tests.support.paths import DEMO
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew

G = "/v1/galleries/{gallery}"
OPEN, ONE, FILTERED, BEYOND = Reach.OPEN, Reach.ONE_GALLERY, Reach.FILTERED, Reach.BEYOND
EXPECTED: dict[str, tuple[Scope | None, Reach]] = {
    "GET /": (None, OPEN), "HEAD /": (None, OPEN),
    "GET /admin": (None, OPEN), "HEAD /admin": (None, OPEN),
    "GET /admin/": (None, OPEN), "HEAD /admin/": (None, OPEN),
    "GET /docs": (None, OPEN), "HEAD /docs": (None, OPEN),
    "GET /docs/": (None, OPEN), "HEAD /docs/": (None, OPEN),
    "GET /problems/style.css": (None, OPEN),
    "GET /page/{path}": (None, OPEN), "HEAD /page/{path}": (None, OPEN),
    "GET /sw.js": (None, OPEN), "HEAD /sw.js": (None, OPEN),
    "GET /healthz": (None, OPEN), "HEAD /healthz": (None, OPEN),
    "GET /livez": (None, OPEN), "HEAD /livez": (None, OPEN),
    "GET /readyz": (None, OPEN), "HEAD /readyz": (None, OPEN),
    "GET /version": (None, OPEN),
    "GET /openapi.json": (None, OPEN), "HEAD /openapi.json": (None, OPEN),
    "GET /problems/{slug}": (None, OPEN),
    "POST /search": ("search", ONE),
    "POST /search/batch": ("search", ONE),
    "POST /search/photo": ("search", ONE),
    "GET /v1/galleries": ("search", FILTERED),
    f"GET {G}": ("search", ONE),
    f"GET {G}/index": ("search", ONE),
    f"POST {G}/search": ("search", ONE),
    f"POST {G}/search/batch": ("search", ONE),
    f"POST {G}/search/photo": ("search", ONE),
    f"GET {G}/items/{{item_id}}": ("search", ONE),
    f"GET {G}/items/{{item_id}}/photo": ("search", ONE),
    f"GET {G}/items/{{item_id}}/similar": ("search", ONE),
    f"POST {G}/items/count": ("search", ONE),
    f"GET {G}/offline-pack": ("search", ONE),
    f"GET {G}/offline-pack/file": ("search", ONE), f"HEAD {G}/offline-pack/file": ("search", ONE),
    "GET /v1/encoders": ("search", FILTERED),
    "GET /v1/encoders/best": ("search", ONE),
    "GET /v1/encoders/{encoder_id}": ("search", FILTERED),
    "GET /v1/encoders/{encoder_id}/manifest": ("search", FILTERED),
    "GET /v1/encoders/{encoder_id}/file": ("search", FILTERED),
    "HEAD /v1/encoders/{encoder_id}/file": ("search", FILTERED),
    f"GET {G}/items": ("write", ONE),
    f"PUT {G}/items": ("write", ONE),
    f"POST {G}/items/delete": ("write", ONE),
    f"POST {G}/items/photos": ("write", ONE),
    f"PUT {G}/items/{{item_id}}": ("write", ONE),
    f"DELETE {G}/items/{{item_id}}": ("write", ONE),
    "GET /v1/jobs": ("write", FILTERED),
    "GET /v1/jobs/{job_id}": ("write", FILTERED),
    "POST /v1/jobs/{job_id}/cancel": ("write", FILTERED),
    "GET /metrics": ("admin", BEYOND),
    f"PUT {G}": ("admin", ONE),
    f"DELETE {G}": ("admin", ONE),
    f"PUT {G}/index": ("admin", ONE),
    f"POST {G}/index/rebuild": ("admin", ONE),
    f"POST {G}/redescribe": ("admin", BEYOND),
    f"POST {G}/restore": ("admin", BEYOND),
    f"GET {G}/snapshots": ("admin", ONE),
    f"POST {G}/snapshots": ("admin", ONE),
    f"GET {G}/snapshots/{{snapshot}}": ("admin", ONE),
    f"DELETE {G}/snapshots/{{snapshot}}": ("admin", ONE),
    f"POST {G}/snapshots/{{snapshot}}/verify": ("admin", ONE),
    f"PUT {G}/offline-pack": ("admin", ONE),
    f"POST {G}/offline-pack": ("admin", ONE),
    f"DELETE {G}/offline-pack": ("admin", ONE),
    f"POST {G}/encoders": ("admin", ONE),
    f"DELETE {G}/encoders/{{encoder_id}}": ("admin", ONE),
    f"PUT {G}/encoders/{{encoder_id}}/default": ("admin", ONE),
    f"GET {G}/probes": ("admin", ONE),
    f"PUT {G}/probes/{{probe_id}}": ("admin", ONE),
    f"DELETE {G}/probes/{{probe_id}}": ("admin", ONE),
    "GET /v1/aliases": ("admin", BEYOND),
    "PUT /v1/aliases/{alias}": ("admin", BEYOND),
    "DELETE /v1/aliases/{alias}": ("admin", BEYOND),
    "POST /v1/aliases/{alias}/change-teacher": ("admin", BEYOND),
    "GET /v1/keys": ("admin", BEYOND),
    "POST /v1/keys": ("admin", BEYOND),
    "DELETE /v1/keys/{key_id}": ("admin", BEYOND),
    "GET /v1/replication": ("admin", BEYOND),
    "POST /v1/replication/promote": ("admin", BEYOND),
    "POST /v1/replication/fence": ("admin", BEYOND),
    "GET /v1/replication/state": ("admin", BEYOND),
    "GET /v1/replication/galleries/{name}/changes": ("admin", BEYOND),
    "GET /v1/replication/galleries/{name}/summary": ("admin", BEYOND),
    "GET /v1/replication/galleries/{name}/labels": ("admin", BEYOND),
    "GET /v1/replication/galleries/{name}/beside": ("admin", BEYOND),
    "GET /v1/replication/galleries/{name}/files/{kind}/{file}": ("admin", BEYOND),
}  # fmt: skip
"""What every call needs, written a second time by hand: a route that changes its rules by accident differs."""

ALIASES = {"live": "objects"}


def calls() -> list[tuple[str, APIRoute]]:
    return [
        (f"{method} {route.path_format}", route) for route in all_routes() for method in sorted(route.methods or ())
    ]


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return RouteTable(all_routes(), lambda name: ALIASES.get(name, name), "default")


def test_every_call_needs_the_expected_permission() -> None:
    declared = {call: rules_of(route).permission for call, route in calls()}
    assert {call: (each.scope, each.reach) for call, each in declared.items()} == EXPECTED


def test_a_route_without_a_declaration_fails_at_the_start() -> None:
    router = make_router(tags=["tests"])

    @router.get("/undeclared")
    async def undeclared() -> Response:
        return Response()

    with pytest.raises(TypeError, match=r"/undeclared declares no rules.*of_one_gallery"):
        RouteTable([each for each in router.routes if isinstance(each, APIRoute)], str, "default")


def test_a_parameter_that_is_not_a_segment_fails_at_the_start() -> None:
    router = make_router(tags=["tests"])

    @router.get("/{number:int}")
    @open_to_all
    async def numbered(number: int) -> Response:
        return Response()

    with pytest.raises(TypeError, match="not a plain segment"):
        RouteTable([each for each in router.routes if isinstance(each, APIRoute)], str, "default")


def test_the_large_bodies_belong_to_the_calls_that_take_them() -> None:
    kinds = {call: rules_of(route).body for call, route in calls()}
    assert {call for call, kind in kinds.items() if kind is not BodyKind.PLAIN} == {
        "POST /search", f"POST {G}/search", f"PUT {G}", f"POST {G}/encoders", f"POST {G}/items/photos", f"POST {G}/restore"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "query", "template", "gallery"),
    [
        ("POST", "/search", b"", "/search", "default"),
        ("POST", "/search", b"limit=3&gallery=theirs", "/search", "theirs"),
        ("POST", "/search", b"gallery=a&%67allery=b", "/search", "b"),
        ("POST", "/search", b"gallery=", "/search", "default"),
        ("POST", "/search", b"gallery=live", "/search", "objects"),
        ("POST", "/v1/galleries/live/search", b"gallery=theirs", f"{G}/search", "objects"),
        ("GET", "/v1/galleries", b"gallery=theirs", "/v1/galleries", None),
        ("GET", "/v1/encoders/best", b"gallery=theirs", "/v1/encoders/best", "theirs"),
        ("GET", "/v1/encoders/best@1", b"", "/v1/encoders/{encoder_id}", None),
        ("PUT", "/v1/galleries/a/items/photos", b"", f"{G}/items/{{item_id}}", "a"),
        ("POST", "/v1/galleries/a/items/photos", b"", f"{G}/items/photos", "a"),
        ("GET", "/page/css/a.css", b"", "/page/{path}", None),
        ("GET", "/page/", b"", "/page/{path}", None),
        ("GET", "/v1/galleries/a%2Fb", b"", G, "a%2Fb"),
        ("GET", "/admin", b"gallery=theirs", "/admin", None),
        ("GET", "/admin/", b"", "/admin/", None),
        ("GET", "/admin/galleries", b"", "(none)", None),
        ("GET", "/page", b"", "(none)", None),
        ("GET", "/v1/galleries/", b"", "(none)", None),
        ("GET", "/v1/galleries//items", b"", "(none)", None),
        ("GET", "//v1/galleries", b"", "(none)", None),
        ("POST", "/v1/galleries/a/restore\n", b"", "(none)", None),
        ("POST", "/search/", b"", "(none)", None),
        ("get", "/healthz", b"", "(none)", None),
    ],
)
def test_what_a_request_is(
    table: RouteTable, method: str, path: str, query: bytes, template: str, gallery: str | None
) -> None:
    match = table.match(method, path, query)
    assert (match.template, match.gallery) == (template, gallery)
    if match.route is None:
        assert match.rules.permission.scope == "admin"
        assert match.rules.permission.reach is BEYOND


def test_a_known_path_with_another_method_lists_the_allowed_ones(table: RouteTable) -> None:
    assert table.match("PATCH", "/v1/galleries/a", b"").allowed == ("GET", "PUT", "DELETE")
    assert table.match("GET", "/nowhere", b"").allowed == ()
    # HEAD of what only GET reads takes the key that GET takes.
    head = table.match("HEAD", "/v1/galleries/a/items", b"")
    assert (head.route, head.allowed, head.rules.permission.scope) == (None, ("GET", "PUT"), "write")


SEGMENTS = st.sampled_from(
    ["", "v1", "galleries", "search", "batch", "items", "photos", "restore", "encoders", "best", "page", "a", "a\n", "\n",
     "%2F", "restore\n", "healthz", "é", ".", "..", "index", "rebuild", "jobs", "{gallery}"]
)  # fmt: skip
PATHS = st.lists(SEGMENTS, max_size=7).map(lambda parts: "/" + "/".join(parts))


@given(method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]), path=PATHS)
def test_paths_are_matched_as_the_framework_would_but_for_line_ends(table: RouteTable, method: str, path: str) -> None:
    ours = table.match(method, path, b"")
    theirs = next(
        (route for route in all_routes() if method in (route.methods or ()) and route.path_regex.match(path)), None
    )
    if "\n" not in path:
        assert ours.route is theirs
    elif ours.route is not None:
        # Starlette's regular expressions take a final line end for nothing, and `.` for anything but one; ours never do.
        # Such paths are refused before they are matched.
        assert re.compile(ours.route.path_regex.pattern, re.DOTALL).fullmatch(path)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3))
def test_an_id_with_any_characters_stays_one_segment(parts: list[str]) -> None:
    identity = "/".join(parts).encode("utf-8", "replace").decode()
    raw = b"/v1/galleries/a/items/" + quote(identity, safe="").encode()
    path = decode_path({"raw_path": raw, "path": ""})
    assert path.count("/") == 5
    assert httpx.URL(f"http://a{raw.decode()}").path == f"/v1/galleries/a/items/{identity}"


# Against a real server: what attack F1 did, and its kind.


class Limited:
    """A server with keys: galleries `mine`, which is the default one, and `theirs`; and keys that see `mine` alone."""

    def __init__(self, server: RunningServer, admin: httpx.Client, teacher: Encoder) -> None:
        self.server, self.admin, self.teacher = server, admin, teacher

    def key(self, scope: str) -> httpx.Client:
        wanted = {"name": "limited", "scopes": [scope], "galleries": ["mine"]}
        key = self.admin.post("/v1/keys", json=wanted).json()["key"]
        return httpx.Client(base_url=self.server.url, headers={"api-key": key}, timeout=30)


@pytest.fixture(scope="module")
def limited(indexed: Path, tmp_path_factory: pytest.TempPathFactory, teacher: Encoder) -> Iterator[Limited]:
    data = tmp_path_factory.mktemp("limited") / "data"
    shutil.copytree(indexed / "data", data)
    (data / "galleries/objects").rename(data / "galleries/theirs")
    key = run_askew("key", "create", "admin", "--scope", "admin", "--data", data).stdout.strip()
    with (
        RunningServer(data, "--gallery", "mine", "--photo-search") as server,
        httpx.Client(base_url=server.url, headers={"api-key": key}, timeout=30) as admin,
    ):
        manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
        assert admin.put("/v1/galleries/mine", json={"teacher": manifest}).status_code == 201
        yield Limited(server, admin, teacher)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["%0A", "%0D", "%00", "%09", "%7F", "%C2%85", "%0A%0A"])
def test_control_characters_in_a_path_are_refused_at_the_edge(limited: Limited, end: str) -> None:
    for method, path in (
        ("POST", "/v1/galleries/mine/restore"), ("POST", "/v1/galleries/mine/redescribe"), ("GET", "/healthz"),
        ("POST", "/search"), ("GET", "/v1/keys"), ("GET", "/page/askew-client.js"), ("GET", "/v1/galleries/theirs"),
    ):  # fmt: skip
        with limited.key("admin") as http:
            for url in (path + end, f"{path}/{end}"):
                assert_problem(http.request(method, url, json={}), 400, "http", "control characters")


def test_a_key_limited_to_one_gallery_restores_no_other_whatever_follows_the_path(limited: Limited) -> None:
    created = f"/v1/jobs/{limited.admin.post('/v1/galleries/theirs/snapshots').json()['id']}"
    while (job := limited.admin.get(created).json())["state"] != "done":
        assert job["state"] in {"waiting", "running"}, job
    wanted = {"gallery": "theirs", "snapshot": job["result"]["name"]}
    with limited.key("admin") as http:
        for end in (
            "",
            "%0A",
            "%0a",
            "%0D%0A",
            "/",
            "//",
            "%2F",
            ";x",
            "?",
            "?gallery=mine",
            "%20",
            "%85",
            "%E2%80%A8",
            ".",
        ):
            answer = http.post(f"/v1/galleries/mine/restore{end}", json=wanted)
            assert answer.status_code in {400, 403, 404, 405}, (end, answer.text)
        for call in ("restore", "redescribe"):
            assert_problem(http.post(f"/v1/galleries/mine/{call}", json=wanted), 403, "forbidden", "without limits")
    assert limited.admin.get("/v1/galleries/mine").json()["items"] == 0


def test_a_gallery_named_in_the_query_is_the_one_that_the_guard_checks(
    limited: Limited, query: NDArray[np.float32]
) -> None:
    photo = sorted((DEMO / "gallery").glob("*.jpg"))[0].read_bytes()
    asked = {"vector": query.astype(float).tolist(), "space": limited.teacher.space_id}
    raw = query.astype("<f2").tobytes()
    raw_headers = {
        "Content-Type": "application/octet-stream", "Askew-Space": limited.teacher.space_id, "Askew-Dtype": "f16le"
    }  # fmt: skip
    with limited.key("search") as http:
        for name in ("gallery=theirs", "%67allery=theirs", "gallery=mine&gallery=theirs"):
            answers = [
                http.post(f"/search?{name}", json=asked),
                http.post(f"/search?{name}", content=raw, headers=raw_headers),
                http.post(f"/search/batch?{name}", json={"queries": [asked]}),
                http.post(f"/search/photo?{name}", content=photo, headers={"Content-Type": "image/jpeg"}),
                http.get(f"/v1/encoders/best?{name}"),
            ]
            for answer in answers:
                assert_problem(answer, 403, "forbidden", "'theirs'")
        for answer in (http.post("/search", json=asked), http.post("/search?gallery=mine", json=asked)):
            assert answer.json()["gallery"] == "mine"
        assert http.post("/search?gallery=mine", content=raw, headers=raw_headers).json()["gallery"] == "mine"
    assert limited.admin.post("/search?gallery=theirs", json=asked).json()["gallery"] == "theirs"
    named = limited.admin.post("/search?gallery=theirs&limit=1", content=raw, headers=raw_headers).json()
    assert (named["gallery"], len(named["hits"])) == ("theirs", 1)


def test_no_refusal_names_a_gallery_that_a_limited_key_may_not_see(limited: Limited) -> None:
    with limited.key("search") as http:
        for path in (
            "/v1/encoders/best?gallery=nope", "/v1/encoders/x@1?gallery=nope", "/v1/encoders/x@1/file?gallery=nope",
            "/v1/encoders/x@1", "/v1/galleries/nope", "/v1/galleries/nope/index", "/v1/jobs/nope",
        ):  # fmt: skip
            answer = http.get(path)
            assert answer.status_code in {403, 404}, path
            assert "theirs" not in answer.text, (path, answer.text)


def test_the_openapi_description_of_a_route_matches_its_declared_rules() -> None:
    document = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
    for call, route in calls():
        method, _, path = call.partition(" ")
        if route.include_in_schema:
            scope = rules_of(route).permission.scope
            security = document["paths"][path][method.lower()].get("security")
            assert security == (None if scope is None else [{scope: []}]), call
