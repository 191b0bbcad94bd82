"""Downloads: continued after a broken connection, verified, and never in place before that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from askew_client import Client
from askew_client.contract.problems import ProblemKind
from askew_client.errors import DamagedEncoder, DamagedSnapshot, NotFound, ServerError, ServerUnreachable
from tests.support.scripted_server import ScriptedServer

TAR = b"a snapshot's bytes" * 9_000
TAG = f'"{hashlib.sha256(TAR).hexdigest()}"'


def fetch(client: Client, folder: Path) -> Path:
    return client.download_snapshot("n", folder / "kept.tar", gallery="demo")


def test_a_broken_download_continues_where_it_broke(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.answer(TAR, etag=TAG, cut=100_000)
    rest = TAR[100_000:]
    server.answer(rest, 206, etag=TAG, content_range=f"bytes 100000-{len(TAR) - 1}/{len(TAR)}")
    assert fetch(client, tmp_path).read_bytes() == TAR
    first, second = server.requests
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == ("bytes=100000-", TAG)
    assert second.headers["accept-encoding"] == "identity"


def test_a_download_of_a_file_that_has_changed_starts_again(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.answer(b"x" * len(TAR), etag='"old"', cut=100_000)
    short = b"a shorter one"
    server.answer(short, etag=f'"{hashlib.sha256(short).hexdigest()}"')
    assert fetch(client, tmp_path).read_bytes() == short


def test_a_part_that_was_not_asked_for_is_refused(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    server.answer(TAR, etag=TAG, cut=1_000)
    server.answer(TAR[5:], 206, etag=TAG, content_range=f"bytes 5-{len(TAR) - 1}/{len(TAR)}")
    with pytest.raises(ServerError, match="from byte 1000 on, got bytes 5-"):
        fetch(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_does_not_replace_the_file(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "kept.tar").write_bytes(b"the one before")
    server.answer(TAR[:-1] + b"!", etag=TAG)
    with pytest.raises(DamagedSnapshot, match=f"the server states {TAG[1:13]}"):
        fetch(client, tmp_path)
    server.answers.clear()
    server.answer(TAR)
    with pytest.raises(DamagedSnapshot, match="the server states none"):
        fetch(client, tmp_path)
    server.answers.clear()
    server.problem(ProblemKind.UNKNOWN_SNAPSHOT)
    with pytest.raises(NotFound):
        fetch(client, tmp_path)
    assert (tmp_path / "kept.tar").read_bytes() == b"the one before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_download_that_keeps_breaking_is_given_up(
    server: ScriptedServer, connect: Callable[..., Client], tmp_path: Path
) -> None:
    server.answer(TAR, etag=TAG, cut=10)
    with pytest.raises(ServerUnreachable, match="broke"):
        fetch(connect(server.url, retries=2), tmp_path)
    assert len(server.requests) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_broken_download_of_an_encoder_continues(
    server: ScriptedServer, client: Client, student_file: Path, tmp_path: Path
) -> None:
    content = student_file.read_bytes()
    half = len(content) // 2
    server.answer(content, etag='"digest"', cut=half)
    server.answer(content[half:], 206, etag='"digest"', content_range=f"bytes {half}-{len(content) - 1}/{len(content)}")
    kept = client.download_encoder("student@1", tmp_path / "student.onnx")
    assert kept.read_bytes() == content
    server.answers[0].status, server.answers[0].body = (
        200,
        content[: half - 1] + bytes([content[half - 1] ^ 1]) + content[half:],
    )
    with pytest.raises(DamagedEncoder):
        client.download_encoder("student@1", kept)
    assert kept.read_bytes() == content
