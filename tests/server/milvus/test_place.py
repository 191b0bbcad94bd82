"""The address of a Milvus, and the secret that opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from askew_client.errors import AskewError
from askew_server.errors import MissingSecret
from askew_server.milvus.place import MilvusPlace, parse_address, read_token


@pytest.mark.parametrize(
    ("address", "uri", "database"),
    [
        ("milvus://m.example", "http://m.example:19530", ""),
        ("milvus://m.example:1/", "http://m.example:1", ""),
        ("milvus+tls://10.0.0.1:443/shop", "https://10.0.0.1:443", "shop"),
        ("milvus://[::1]:19530", "http://[::1]:19530", ""),
    ],
)
def test_an_address_names_host_port_and_database(address: str, uri: str, database: str) -> None:
    place = MilvusPlace.of(address, "c")
    assert (place.uri, place.database) == (uri, database)
    assert MilvusPlace.read(place.model_dump_json()) == place


@pytest.mark.parametrize(
    "address", ["http://m:19530", "milvus://m:0", "milvus://m:70000", "milvus://", "m:19530", "milvus://m/a b"]
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(AskewError, match="Expected the address of a Milvus, such as milvus://"):
        parse_address(address)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(AskewError, match="ASKEW_MILVUS_TOKEN") as refused:
        parse_address("milvus://root:secret@m.example:19530")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("option", "value"), [("collection", "a-b"), ("index_type", "flat"), ("shards", 0)])
def test_what_milvus_does_not_take_is_refused(option: str, value: object) -> None:
    chosen: dict[str, Any] = {"collection": "c", option: value}
    with pytest.raises(AskewError, match=option):
        MilvusPlace.of("milvus://m", **chosen)


def test_a_token_file_that_is_missing_or_empty_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASKEW_MILVUS_TOKEN", raising=False)
    monkeypatch.setenv("ASKEW_MILVUS_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(MissingSecret, match="ASKEW_MILVUS_TOKEN_FILE"):
        read_token()
    (tmp_path / "token").write_text("\n")
    with pytest.raises(MissingSecret, match="the file is empty"):
        read_token()
    (tmp_path / "token").write_text("a:b\n")
    assert read_token() == "a:b"
