"""API keys: made, listed and revoked, on the command line and over HTTP; at once; and never kept."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from askew_client.contract.keys import CreateKeyRequest
from askew_server.auth.keys import KeyStore
from askew_server.errors import Refusal
from tests.support.problem_shape import assert_problem
from tests.support.running_server import ASKEW, RunningServer, run_askew

KEYS = "/v1/keys"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    opened = KeyStore(tmp_path)
    yield opened
    opened.close()


def _wanted(**fields: object) -> CreateKeyRequest:
    return CreateKeyRequest.model_validate({"name": "a phone", "scopes": ["search"], **fields})


def _as(server: RunningServer, key: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_a_key_is_found_by_its_text_alone(store: KeyStore) -> None:
    created = store.create(_wanted())
    found = store.find(created.key)
    assert found is not None
    assert found.id == created.id
    assert created.key.startswith(f"ask_{created.id}_")
    wrong = created.key[:-1] + ("A" if created.key[-1] != "A" else "B")
    other = store.create(_wanted())
    swapped = other.key.replace(other.id, created.id)
    for text in ("", "ask_", created.id, wrong, swapped, created.key + "A", created.key.upper(), "\x00", "é" * 60):
        assert store.find(text) is None


def test_each_key_is_another_and_has_256_random_bits(store: KeyStore) -> None:
    keys = [store.create(_wanted()).key for _ in range(200)]
    assert len({key.split("_", 2)[2] for key in keys}) == 200
    assert {len(key.split("_", 2)[2]) for key in keys} == {43}


def test_neither_the_key_nor_anything_to_make_it_from_lies_on_the_disk(store: KeyStore, tmp_path: Path) -> None:
    secret = store.create(_wanted()).key.split("_", 2)[2].encode()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"a phone" in content
    assert secret not in content


def test_keys_outlive_the_server_and_revoked_ones_do_not(store: KeyStore, tmp_path: Path) -> None:
    ends = datetime(2100, 1, 1, tzinfo=UTC)
    wanted = _wanted(scopes=["write", "search"], galleries=["b", "a"], requests_per_second=2.5, expires_at=ends)
    kept, revoked = store.create(wanted), store.create(_wanted())
    store.revoke(revoked.id)
    store.close()
    again = KeyStore(tmp_path)
    assert again.find(revoked.key) is None
    (listed,) = again.describe_all()
    assert listed.model_dump() == kept.model_dump(exclude={"key"})
    assert (listed.scopes, listed.galleries, listed.requests_per_second) == (["search", "write"], ["a", "b"], 2.5)
    again.close()


def test_once_there_was_a_key_the_server_is_never_open_again(store: KeyStore, tmp_path: Path) -> None:
    assert not store.guarded
    created = store.create(_wanted())
    assert store.guarded
    store.revoke(created.id)
    assert store.guarded
    again = KeyStore(tmp_path)
    assert again.guarded
    assert again.describe_all() == []
    again.close()


def test_revoking_what_is_no_key_says_so(store: KeyStore) -> None:
    with pytest.raises(Refusal, match="no key with the id 'nobody'"):
        store.revoke("nobody")


def test_an_expired_key_is_known_as_such(store: KeyStore) -> None:
    now = datetime.now(UTC)
    found = store.find(store.create(_wanted(expires_at=now + timedelta(seconds=5))).key)
    assert found is not None
    assert not found.is_expired(now)
    assert found.is_expired(now + timedelta(seconds=5))


@pytest.mark.parametrize(
    ("held", "may"),
    [("search", ["search"]), ("write", ["search", "write"]), ("admin", ["search", "write", "admin"])],
)
def test_each_scope_includes_the_lesser_ones(store: KeyStore, held: str, may: list[str]) -> None:
    found = store.find(store.create(_wanted(scopes=[held])).key)
    assert found is not None
    assert [scope for scope in ("search", "write", "admin") if found.may(scope)] == may  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"scopes": []},
        {"scopes": ["read"]},
        {"galleries": []},
        {"galleries": ["../x"]},
        {"requests_per_second": 0},
        {"requests_per_second": float("nan")},
        {"expires_at": "2100-01-01T00:00:00"},
        {"expires_at": 4_102_444_800},
        {"expires_at": "4102444800"},
        {"admin": True},
    ],
)
def test_what_no_key_can_be(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        _wanted(**fields)


def test_a_damaged_table_of_keys_keeps_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "askew.db").write_bytes(b"no database at all, but for its length" * 100)
    done = run_askew("serve", "--data", tmp_path, "--port", "0")
    assert done.returncode == 1
    assert "askew.db cannot be read" in done.stderr


def test_the_command_line_makes_lists_and_revokes_in_a_data_directory(tmp_path: Path) -> None:
    made = run_askew(
        "key", "create", "museum app", "--scope", "search", "--gallery", "museum", "--requests-per-second", "5",
        "--expires", "2100-01-31", "--data", tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    identity = key.split("_")[1]
    assert "only time" in made.stderr
    listed = run_askew("key", "list", "--data", tmp_path)
    assert f"{identity}  museum app  (search; only museum; 5 requests a second; until 2100-01-31" in listed.stdout
    assert key not in listed.stdout
    as_json = json.loads(run_askew("key", "list", "--json", "--data", tmp_path).stdout)
    assert as_json["keys"][0]["galleries"] == ["museum"]
    assert run_askew("key", "revoke", identity, "--data", tmp_path).returncode == 0
    assert "no keys" in run_askew("key", "list", "--data", tmp_path).stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "x", "--scope", "read"), "Input should be 'search', 'write' or 'admin'"),
        (("create", "x", "--scope", "search", "--expires", "soon"), "as a date"),
        (("create", "x", "--scope", "search", "--gallery", "No Name"), "String should match pattern"),
        (("revoke", "nobody"), "There is no key"),
        (("list", "--server", "http://127.0.0.1:9"), "No server answers"),
    ],
)
def test_what_goes_wrong_on_the_command_line_is_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    where = () if "--server" in arguments else ("--data", tmp_path)
    done = run_askew("key", *arguments, *where)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_data_or_server_the_command_line_asks_for_one() -> None:
    assert "Say where the keys are" in run_askew("key", "list").stderr


def test_the_first_key_is_made_over_loopback_and_from_then_on_every_call_needs_one(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        assert server.http.get("/v1/galleries").status_code == 200
        made = run_askew("key", "create", "first", "--scope", "admin", "--server", server.url)
        assert made.returncode == 0, made.stderr
        admin = made.stdout.strip()
        answer = server.http.get("/v1/galleries")
        assert_problem(answer, 401, "unauthorised", "askew key create")
        assert answer.headers["www-authenticate"] == 'Bearer realm="askew"'
        assert_problem(server.http.post(KEYS, json={"name": "x", "scopes": ["admin"]}), 401, "unauthorised")
        with _as(server, admin) as http:
            assert http.get("/v1/galleries").status_code == 200


def test_made_and_revoked_keys_act_at_once_and_show_only_once(tmp_path: Path) -> None:
    made = run_askew("key", "create", "admin", "--scope", "admin", "--data", tmp_path / "data")
    with RunningServer(tmp_path / "data") as server, _as(server, made.stdout.strip()) as admin:
        answer = admin.post(KEYS, json={"name": "phone", "scopes": ["search"]})
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        created = answer.json()
        with _as(server, created["key"]) as phone:
            assert phone.get("/v1/galleries").status_code == 200
            listed = admin.get(KEYS)
            assert [each["name"] for each in listed.json()["keys"]] == ["admin", "phone"]
            assert created["key"] not in listed.text
            assert admin.delete(f"{KEYS}/{created['id']}").json() == {"revoked": created["id"]}
            assert_problem(phone.get("/v1/galleries"), 401, "unauthorised", "revoked")
        assert_problem(admin.delete(f"{KEYS}/{created['id']}"), 404, "unknown-key", created["id"])
        assert_problem(admin.post(KEYS, json={"name": "x", "scopes": ["all"]}), 422, "validation", "scopes")


def test_the_command_line_sends_the_key_of_the_environment(tmp_path: Path) -> None:
    made = run_askew("key", "create", "admin", "--scope", "admin", "--data", tmp_path / "data")
    with RunningServer(tmp_path / "data") as server:
        command = [ASKEW, "key", "list", "--server", server.url]
        environment = {**os.environ, "ASKEW_KEY": made.stdout.strip()}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "admin" in done.stdout
        refused = run_askew("key", "list", "--server", server.url, "--key", "ask_wrong")
        assert refused.returncode == 1
        assert "does not know" in refused.stderr


def test_the_command_line_leaves_the_keys_of_a_running_server_alone(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        done = run_askew("key", "create", "x", "--scope", "search", "--data", tmp_path)
        assert done.returncode == 1
        assert f"in use by askew serve at {server.url}" in done.stderr
        with closing(sqlite3.connect(tmp_path / "askew.db")) as database:
            assert database.execute("SELECT count(*) FROM keys").fetchone() == (0,)
