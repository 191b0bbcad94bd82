"""A running server from its first key on: over HTTP, and with `askew key --server`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import call_askew
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

KEYS = "/v1/keys"


@dataclass(frozen=True)
class GuardedServer:
    """A running server whose first key was created over loopback. `before`: what it answered without any key."""

    server: RunningServer
    data: Path
    admin: str
    before: httpx.Response

    def client(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    data = tmp_path_factory.mktemp("guarded") / "data"
    with RunningServer(data) as server:
        before = server.http.get("/v1/galleries")
        made = call_askew("key", "create", "first", "--scope", "admin", "--server", server.url)
        assert made.returncode == 0, made.stderr
        yield GuardedServer(server, data, made.stdout.strip(), before)


def test_from_the_first_key_on_every_call_needs_one(guarded: GuardedServer) -> None:
    assert guarded.before.status_code == 200
    http = guarded.server.http
    answer = http.get("/v1/galleries")
    assert_problem(answer, 401, "unauthorised", "askew key create")
    assert answer.headers["www-authenticate"] == 'Bearer realm="askew"'
    assert_problem(http.post(KEYS, json={"name": "x", "scopes": ["admin"]}), 401, "unauthorised")
    with guarded.client(guarded.admin) as admin:
        assert admin.get("/v1/galleries").status_code == 200


def test_created_and_revoked_keys_act_at_once_and_are_shown_only_once(guarded: GuardedServer) -> None:
    with guarded.client(guarded.admin) as admin:
        answer = admin.post(KEYS, json={"name": "phone", "scopes": ["search"]})
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        created = answer.json()
        with guarded.client(created["key"]) as phone:
            assert phone.get("/v1/galleries").status_code == 200
            listed = admin.get(KEYS)
            assert [each["name"] for each in listed.json()["keys"]] == ["first", "phone"]
            assert created["key"] not in listed.text
            assert admin.delete(f"{KEYS}/{created['id']}").json() == {"revoked": created["id"]}
            assert_problem(phone.get("/v1/galleries"), 401, "unauthorised", "revoked")
        assert_problem(admin.delete(f"{KEYS}/{created['id']}"), 404, "unknown-key", created["id"])
        assert_problem(admin.post(KEYS, json={"name": "x", "scopes": ["all"]}), 422, "validation", "scopes")


def test_the_command_line_sends_the_key_of_the_environment(
    guarded: GuardedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKEW_KEY", guarded.admin)
    assert "first" in call_askew("key", "list", "--server", guarded.server.url).stdout
    refused = call_askew("key", "list", "--server", guarded.server.url, "--key", "ask_wrong")
    assert refused.returncode == 1
    assert "unknown or revoked" in refused.stderr


def test_the_command_line_leaves_the_keys_of_a_running_server_alone(guarded: GuardedServer) -> None:
    done = call_askew("key", "create", "x", "--scope", "search", "--data", guarded.data)
    assert done.returncode == 1
    assert f"in use by askew serve at {guarded.server.url}" in done.stderr
    with closing(sqlite3.connect(guarded.data / "askew.db")) as database:
        assert database.execute("SELECT count(*) FROM keys WHERE name = 'x'").fetchone() == (0,)
