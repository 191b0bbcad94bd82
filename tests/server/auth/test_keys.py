"""API keys as they are stored: created, found and revoked; the key itself is never on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from askew_client.contract.keys import CreateKeyRequest, Scope
from askew_server.auth.keys import SCOPES, KeyStore
from askew_server.errors import Refusal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    opened = KeyStore(tmp_path)
    yield opened
    opened.close()


def _wanted(**fields: object) -> CreateKeyRequest:
    return CreateKeyRequest.model_validate({"name": "a phone", "scopes": ["search"], **fields})


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
    keys = [store.create(_wanted()).key for _ in range(50)]
    assert len({key.split("_", 2)[2] for key in keys}) == 50
    assert {len(key.split("_", 2)[2]) for key in keys} == {43}


def test_neither_the_key_nor_its_secret_part_is_on_the_disk(store: KeyStore, tmp_path: Path) -> None:
    secret = store.create(_wanted()).key.split("_", 2)[2].encode()
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"a phone" in content
    assert secret not in content


def test_keys_outlive_the_store_and_revoked_ones_do_not(store: KeyStore, tmp_path: Path) -> None:
    ends = datetime(2100, 1, 1, tzinfo=UTC)
    wanted = _wanted(scopes=["write", "search"], galleries=["b", "a"], requests_per_second=2.5, expires_at=ends)
    valid, revoked = store.create(wanted), store.create(_wanted())
    store.revoke(revoked.id)
    store.close()
    again = KeyStore(tmp_path)
    assert again.find(revoked.key) is None
    (listed,) = again.describe_all()
    assert listed.model_dump() == valid.model_dump(exclude={"key"})
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


def test_revoking_an_unknown_key_is_refused(store: KeyStore) -> None:
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
def test_each_scope_includes_the_lesser_ones(store: KeyStore, held: Scope, may: list[Scope]) -> None:
    found = store.find(store.create(_wanted(scopes=[held])).key)
    assert found is not None
    assert [scope for scope in SCOPES if found.may(scope)] == may


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
def test_fields_that_a_key_cannot_have(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        _wanted(**fields)
