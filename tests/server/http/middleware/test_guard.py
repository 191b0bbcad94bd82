"""The guard: who may call what, how often, from where; and what a server that has no key refuses all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from numpy.typing import NDArray

from askew_client.contract.keys import Scope
from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.auth.rate_limits import RateLimiter
from askew_server.http.app import all_routes
from askew_server.http.routing import rules_of
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew


def calls() -> list[tuple[str, str, Scope | None]]:
    """Method, template and scope of every call."""
    return sorted(
        (method, route.path_format, rules_of(route).permission.scope)
        for route in all_routes()
        for method in route.methods or ()
    )


class Guarded:
    """A server with keys: galleries `objects`, alias `live` for it, and `other`."""

    def __init__(self, server: RunningServer, admin: str) -> None:
        self.server = server
        self.admin = self.client(admin)

    def client(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def key(self, *scopes: str, **limits: object) -> httpx.Client:
        """A client with a new key."""
        answer = self.admin.post("/v1/keys", json={"name": "a test", "scopes": scopes, **limits})
        assert answer.status_code == 201, answer.text
        return self.client(answer.json()["key"])


@pytest.fixture(scope="module")
def guarded(indexed: Path, tmp_path_factory: pytest.TempPathFactory, teacher: Encoder) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("guarded") / "data"
    shutil.copytree(indexed / "data", data)
    made = run_askew("key", "create", "admin", "--scope", "admin", "--data", data)
    with RunningServer(data, "--gallery", "objects") as server:
        running = Guarded(server, made.stdout.strip())
        manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
        assert running.admin.put("/v1/galleries/other", json={"teacher": manifest}).status_code == 201
        assert running.admin.put("/v1/aliases/live", json={"gallery": "objects"}).status_code == 200
        yield running
        running.admin.close()


@pytest.mark.slow
def test_without_a_key_only_calls_that_reveal_nothing_about_galleries_are_answered(guarded: Guarded) -> None:
    for method, template, scope in calls():
        answer = guarded.server.http.request(method, template.replace("{", "").replace("}", ""))
        if scope is None:
            assert answer.status_code in {200, 308, 404}, (method, template)
        elif method == "HEAD":
            assert answer.status_code == 401, template
        else:
            assert_problem(answer, 401, "unauthorised")
    assert guarded.server.http.get("/page/askew-client.js").status_code == 200
    assert_problem(guarded.server.http.get("/no/such/path"), 401, "unauthorised")
    assert_problem(guarded.server.http.patch("/v1/galleries"), 401, "unauthorised")


@pytest.mark.parametrize("scope", ["search", "write"])
def test_a_key_is_refused_every_call_beyond_its_scope(guarded: Guarded, scope: str) -> None:
    beyond = {"search": {"write", "admin"}, "write": {"admin"}}[scope]
    tried = 0
    with guarded.key(scope) as http:
        for method, template, need in calls():
            if need in beyond and method != "HEAD":
                problem = assert_problem(http.request(method, template), 403, "forbidden", f"scope {need}", scope)
                assert problem["required"] == need
                tried += 1
        for method, path in (("PATCH", "/v1/galleries"), ("GET", "/no/such/path"), ("GET", "/v1/galleries/a/new")):
            assert_problem(http.request(method, path), 403, "forbidden", "Is the path right?")
    assert tried > 8


def test_what_each_scope_is_for(guarded: Guarded, query: NDArray, headers: dict[str, str]) -> None:
    space, packed = headers["Askew-Space"], pack_base64(query)
    search = {"vector": packed, "dtype": "f16le", "space": space, "limit": 1}
    upsert = {"space": space, "items": [{"id": "guarded", "vector": packed, "dtype": "f16le"}]}
    with guarded.key("search") as phone, guarded.key("write") as writer:
        for http in (phone, writer, guarded.admin):
            assert http.post("/search", json=search).status_code == 200
            assert http.get("/v1/galleries/objects").status_code == 200
        items = "/v1/galleries/objects/items"
        assert_problem(phone.put(items, json=upsert), 403, "forbidden")
        assert writer.put(items, json=upsert).status_code == 200
        assert phone.get(f"{items}/guarded").status_code == 200
        assert_problem(phone.get(items), 403, "forbidden")
        assert_problem(phone.delete(f"{items}/guarded"), 403, "forbidden")
        assert writer.get(items).status_code == 200
        assert writer.delete(f"{items}/guarded").status_code == 200
        assert_problem(writer.get("/v1/keys"), 403, "forbidden")


def test_a_key_is_taken_from_either_header_and_from_nowhere_else(guarded: Guarded) -> None:
    key = guarded.admin.headers["authorization"].removeprefix("Bearer ")
    url = "/v1/galleries"
    http = guarded.server.http
    for headers in (
        {"Authorization": f"bearer {key}"},
        {"api-key": key},
        {"Authorization": "Basic eA==", "api-key": key},
    ):
        assert http.get(url, headers=headers).status_code == 200
    for headers in (
        {"Authorization": key},
        {"Authorization": f"Basic {key}"},
        {"api-key": ""},
        {"Cookie": f"api-key={key}"},
    ):
        assert_problem(http.get(url, headers=headers), 401, "unauthorised")
    assert_problem(http.get(url, params={"api-key": key}), 401, "unauthorised")
    assert_problem(
        http.get(url, headers={"Authorization": f"Bearer {key}x"}), 401, "unauthorised", "unknown or revoked"
    )


def test_an_expired_key_is_refused(guarded: Guarded) -> None:
    with guarded.key("admin", expires_at="2020-01-01T00:00:00+00:00") as http:
        assert_problem(http.get("/v1/galleries"), 401, "unauthorised", "expired")


@pytest.mark.parametrize("limit", ["objects", "live"])
def test_a_key_limited_to_a_gallery_sees_nothing_else(
    guarded: Guarded, limit: str, query: NDArray, teacher: Encoder
) -> None:
    search = {"vector": query.astype(float).tolist(), "space": teacher.space_id}
    with guarded.key("write", galleries=[limit]) as http:
        for path in ("/search", "/v1/galleries/objects/search", "/v1/galleries/live/search"):
            assert http.post(path, json=search).json()["gallery"] == "objects"
        for path in ("/v1/galleries/other", "/v1/galleries/other/items", "/v1/galleries/absent"):
            assert_problem(http.get(path), 403, "forbidden", f"limited to {limit}")
        assert [each["name"] for each in http.get("/v1/galleries").json()["galleries"]] == ["objects"]
        for encoder in http.get("/v1/encoders").json()["encoders"]:
            assert encoder["galleries"] == ["objects"]
    with guarded.key("search", galleries=["other"]) as http:
        assert_problem(http.post("/search", json=search), 403, "forbidden", "the default gallery")
        assert_problem(http.get("/v1/galleries/live"), 403, "forbidden", "'live'")
        assert_problem(http.get("/v1/encoders/teacher@1/file"), 404, "unknown-encoder")


def test_an_admin_key_limited_to_a_gallery_cannot_reach_beyond_it(guarded: Guarded) -> None:
    with guarded.key("admin", galleries=["other"]) as http:
        assert_problem(
            http.post("/v1/keys", json={"name": "x", "scopes": ["admin"]}), 403, "forbidden", "without limits"
        )
        assert_problem(http.get("/v1/keys"), 403, "forbidden")
        assert_problem(http.put("/v1/aliases/live", json={"gallery": "other"}), 403, "forbidden")
        for call in ("redescribe", "restore"):
            assert_problem(http.post(f"/v1/galleries/other/{call}", json={}), 403, "forbidden", "without limits")
        assert_problem(http.put("/v1/galleries/new", json={}), 403, "forbidden")


def test_a_job_of_another_gallery_is_not_shown(guarded: Guarded) -> None:
    started = guarded.admin.post("/v1/galleries/objects/snapshots")
    assert started.status_code == 202, started.text
    path = f"/v1/jobs/{started.json()['id']}"
    with guarded.key("write", galleries=["other"]) as http:
        assert http.get("/v1/jobs").json() == {"jobs": []}
        assert_problem(http.get(path), 404, "unknown-job")
        assert_problem(http.post(f"{path}/cancel"), 404, "unknown-job")
    with guarded.key("write", galleries=["objects"]) as http:
        assert http.get(path).json()["gallery"] == "objects"


def test_a_key_that_exceeds_its_rate_gets_retry_after(guarded: Guarded) -> None:
    with guarded.key("search", requests_per_second=2) as hasty, guarded.key("search") as other:
        answers = [hasty.get("/v1/galleries") for _ in range(8)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert len(limited) > 3
        problem = assert_problem(limited[0], 429, "rate-limited", "2 requests a second")
        assert problem["requests_per_second"] == 2
        assert limited[0].headers["retry-after"] == "1"
        assert other.get("/v1/galleries").status_code == 200


def test_a_bucket_fills_at_its_rate_and_holds_one_second() -> None:
    rates = RateLimiter()
    assert [rates.take("k", 4, now=0.0) for _ in range(5)] == [0, 0, 0, 0, pytest.approx(0.25)]
    assert rates.take("k", 4, now=0.25) == 0
    assert rates.take("k", 4, now=0.25) == pytest.approx(0.25)
    assert [rates.take("k", 4, now=1000.0) for _ in range(5)].count(0) == 4
    slow = RateLimiter()
    assert slow.take("k", 0.1, now=0.0) == 0
    assert slow.take("k", 0.1, now=1.0) == pytest.approx(9.0)
    assert slow.take("other", 0.1, now=1.0) == 0
    assert slow.take("k", 0.1, now=10.0) == 0


@pytest.mark.slow
def test_metrics_need_admin_once_a_key_exists_unless_configured_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    with RunningServer(data) as server:
        assert server.http.get("/metrics").status_code == 200
        run_askew("key", "create", "x", "--scope", "search", "--server", server.url)
        assert_problem(server.http.get("/metrics"), 401, "unauthorised")
    monkeypatch.setenv("ASKEW_METRICS_WITHOUT_KEY", "1")
    with RunningServer(data) as server:
        assert server.http.get("/metrics").status_code == 200
        assert_problem(server.http.get("/v1/galleries"), 401, "unauthorised")


def test_the_first_key_is_not_made_from_another_machine(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        # As a proxy on this machine reports it.
        far = {"X-Forwarded-For": "203.0.113.9"}
        answer = server.http.post("/v1/keys", json={"name": "x", "scopes": ["admin"]}, headers=far)
        assert_problem(answer, 403, "forbidden", "--data")
        assert server.http.get("/v1/galleries").status_code == 200


@pytest.mark.slow
def test_without_keys_the_pages_of_other_sites_change_nothing(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        host = server.url.removeprefix("http://")
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            for method, path in (("POST", "/search"), ("DELETE", "/v1/galleries/x"), ("POST", "/v1/keys")):
                answer = server.http.request(method, path, headers={"Origin": origin})
                assert_problem(answer, 403, "forbidden", "ASKEW_CORS_ORIGINS")
        own = server.http.post("/search", headers={"Origin": f"http://{host}"})
        assert_problem(own, 404, "unknown-gallery")


@pytest.mark.slow
def test_browsers_let_no_other_page_read_answers_unless_its_origin_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    with RunningServer(tmp_path / "data") as server:
        assert not [name for name in server.http.get("/healthz", headers=asked).headers if name.startswith("access-")]
        assert_problem(server.http.options("/search", headers=asked), 405, "method-not-allowed")
    monkeypatch.setenv("ASKEW_CORS_ORIGINS", "https://app.example, https://other.example")
    run_askew("key", "create", "x", "--scope", "search", "--data", tmp_path / "data")
    with RunningServer(tmp_path / "data") as server:
        wanted = {**asked, "Access-Control-Request-Headers": "authorization, askew-space"}
        preflight = server.http.options("/search", headers=wanted)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
        # A page must be able to read why it was refused.
        refused = server.http.post("/search", headers=asked)
        assert_problem(refused, 401, "unauthorised")
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in refused.headers
        other = server.http.post("/search", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.slow
@pytest.mark.parametrize("origins", ["*", "app.example", "https://app.example/page"])
def test_invalid_origins_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("ASKEW_CORS_ORIGINS", origins)
    done = run_askew("serve", "--data", tmp_path)
    assert done.returncode == 1
    assert "cors_origins" in done.stderr


@pytest.mark.slow
def test_the_server_listens_beyond_loopback_only_with_a_key_or_an_explicit_option(tmp_path: Path) -> None:
    done = run_askew("serve", "--data", tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 1
    assert "askew key create" in done.stderr
    assert "--listen-publicly" in done.stderr
    with RunningServer(tmp_path, "--host", "0.0.0.0", "--listen-publicly"):
        pass
    run_askew("key", "create", "x", "--scope", "admin", "--data", tmp_path)
    with RunningServer(tmp_path, "--host", "0.0.0.0") as server:
        assert_problem(server.http.get("/v1/galleries"), 401, "unauthorised")


@pytest.mark.slow
def test_keys_are_named_in_the_log_by_their_id_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKEW_LOG_LEVEL", "debug")
    made = run_askew("key", "create", "x", "--scope", "search", "--data", tmp_path)
    key = made.stdout.strip()
    server = RunningServer(tmp_path)
    assert server.http.get("/v1/galleries", headers={"api-key": key}).status_code == 200
    lines = [json.loads(line) for line in server.stop().splitlines() if line.startswith("{")]
    assert key.split("_")[1] in {line.get("key") for line in lines}
    assert not [line for line in lines if key in json.dumps(line)]
