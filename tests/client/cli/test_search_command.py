"""`askew search`: its options, what it says of scores, and that no terminal makes a command fail."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from pydantic import JsonValue

from askew_client import Client, Encoder
from tests.client.cli.test_commands import askew, one_line
from tests.support.running_server import RunningServer
from tests.support.scripted_server import ScriptedServer, scripted_server

SPACE = "sp1-" + "0" * 32
TITLE = "Château 東京 🗼 \x1b[31mred\x07"
ANSWER = {
    "hits": [{"id": "a\u0301-é", "score": 0.031, "payload": {"title": TITLE, "kind": "é"}, "group": "é"}],
    "space": SPACE,
    "gallery": "museum",
    "encoder": "student@1",
    "index": "exact",
    "exact": True,
}


@pytest.fixture(scope="module")
def museum(teacher_file: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the gallery `museum` of twelve photos, which describes query photos."""
    teacher = Encoder(teacher_file)
    with RunningServer(tmp_path_factory.mktemp("data"), "--gallery", "museum", "--photo-search") as server:
        with Client(server.url) as client:
            client.create_gallery("museum", teacher_file)
            payloads: list[dict[str, JsonValue]] = [
                {"kind": each.stem.split("-")[0], "title": each.stem} for each in photos
            ]
            ids = [each.stem for each in photos]
            client.upsert(ids, teacher.encode(photos), payloads, gallery="museum", space=teacher.space_id)
        yield server.url


def printed(*arguments: str | Path) -> str:
    ended = askew("search", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode()


@pytest.mark.slow
def test_filters_thresholds_and_groups_work_with_a_real_server(
    museum: str, photos: list[Path], teacher_file: Path
) -> None:
    wanted, place = photos[3], ["--server", museum]
    kinds = {each.stem.split("-")[0] for each in photos}
    here: list[list[str | Path]] = [[], ["--encoder", teacher_file]]
    for sent_as in here:
        every = printed(wanted, *place, *sent_as)
        assert wanted.stem in every
        assert "nearest items, however low their scores; --max-false-match 0.01" in every
        assert ("the server described it with teacher@1" in every) is (not sent_as)
        but_this = json.dumps({"not": {"field": "title", "eq": wanted.stem}})
        others = printed(wanted, *place, *sent_as, "--filter", but_this, "--limit", "2")
        assert wanted.stem not in others
        assert others.count("1.0000") == 0
        grouped = printed(wanted, *place, *sent_as, "--group-by", "kind", "--group-size", "1", "--exact")
        assert "group" in grouped.splitlines()[0]
        shown = json.loads(printed(wanted, *place, *sent_as, "--group-by", "kind", "--json"))
        assert {hit["group"] for hit in shown["hits"]} == kinds
        near = printed(wanted, *place, *sent_as, "--score-threshold", "0.999")
        assert wanted.stem in near
        assert "nearest items" not in near
        nothing = printed(
            photos[5], *place, *sent_as, "--score-threshold", "1", "--filter", '{"field": "title", "eq": "x"}'
        )
        assert (
            "No hits: no item of gallery 'museum' that the filter and the grouping leave passes --score-threshold 1"
            in nothing
        )
    refused = one_line(askew("search", wanted, *place, "--encoder", teacher_file, "--max-false-match", "0.01"))
    assert "No encoder of gallery 'museum' has one: give score_threshold." in refused
    assert "teacher@1" in refused


def test_every_option_is_sent(server: ScriptedServer, photos: list[Path]) -> None:
    server.answer(ANSWER)
    condition = '{"field": "kind", "eq": "é"}'
    options = [
        "--filter",
        condition,
        "--limit",
        "3",
        "--max-false-match",
        "0.01",
        "--group-by",
        "kind",
        "--group-size",
        "2",
    ]
    printed(photos[0], "--server", server.url, *options, "--exact")
    sent = parse_qs(server.requests[0].path.partition("?")[2])
    assert json.loads(sent.pop("filter")[0]) == json.loads(condition)
    assert sent == {
        "limit": ["3"],
        "max_false_match": ["0.01"],
        "group_by": ["kind"],
        "group_size": ["2"],
        "exact": ["true"],
    }
    printed(photos[0], "--server", server.url, "--score-threshold", "-0.5")
    assert parse_qs(server.requests[1].path.partition("?")[2]) == {"limit": ["10"], "score_threshold": ["-0.5"]}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--max-false-match", "0.01", "--score-threshold", "0.5"],
        ["--max-false-match", "0"],
        ["--max-false-match", "1"],
        ["--score-threshold", "2"],
        ["--filter", "kind=landmark"],
        ["--filter", "[]"],
        ["--filter", "[" * 100_000],
        ["--limit", "0"],
        ["--group-size", "101"],
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    server: ScriptedServer, photos: list[Path], wrong: list[str]
) -> None:
    ended = askew("search", photos[0], "--server", server.url, *wrong)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert not server.requests


def test_an_empty_gallery_and_a_threshold_that_nothing_passes_are_told_apart(
    server: ScriptedServer, photos: list[Path]
) -> None:
    server.answer({**ANSWER, "hits": []})
    search: list[str | Path] = [photos[0], "--server", server.url]
    assert "No hits: gallery 'museum' has no items." in printed(*search)
    assert "passes --max-false-match 0.01. Without it, the nearest items" in printed(
        *search, "--max-false-match", "0.01"
    )


@pytest.fixture(scope="module")
def titled() -> Iterator[str]:
    with scripted_server() as script:
        script.answer(ANSWER)
        yield script.url


def run_in(encoding: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """A process whose standard streams have an encoding, strictly: as on an old terminal, or on Windows."""
    environment = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    command = [sys.executable, "-m", "askew_client.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_no_terminal_makes_a_search_fail(titled: str, photos: list[Path], encoding: str) -> None:
    ended = run_in(encoding, "search", photos[0], "--server", titled)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"\x1b" not in ended.stdout
    assert "Ch?teau" in ended.stdout.decode(encoding) or "Château" in ended.stdout.decode(encoding)
    as_json = run_in(encoding, "search", photos[0], "--server", titled, "--json")
    assert as_json.returncode == 0
    # A program reads the same text from any terminal.
    # Click writes UTF-8 where it meets ASCII, which it takes for a mistake.
    written = as_json.stdout.decode("utf-8" if encoding == "ascii" else encoding)
    assert json.loads(written)["hits"][0]["payload"]["title"] == TITLE


@pytest.mark.slow
def test_every_commands_help_and_errors_can_be_printed_in_ascii(tmp_path: Path) -> None:
    help_text = run_in("ascii", "--help")
    assert help_text.returncode == 0
    commands = ["inspect", "check", "encode", "search", "index", "gallery", "admit", "serve", "doctor"]
    assert all(name.encode() in help_text.stdout for name in commands)
    missing = run_in("ascii", "inspect", tmp_path / "Müsli-東.onnx")
    assert (missing.returncode, missing.stderr.count(b"\n")) == (1, 1)
    assert b"?sli" in missing.stderr


def test_a_server_cannot_steer_the_terminal(server: ScriptedServer, photos: list[Path]) -> None:
    problem = {
        "type": "/problems/validation",
        "title": "T",
        "status": 422,
        "detail": "No\x1b]0;owned\x07 such\x9b31m thing.",
    }
    server.answer(problem, 422, content_type="application/problem+json")
    told = one_line(askew("search", photos[0], "--server", server.url))
    assert told == "askew: No]0;owned such31m thing."


@pytest.mark.parametrize("text", ["é", "東京", "🗼", "\udcfc", '"\\é', "a\ud800"])
def test_escapes_in_json_are_read_back(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from askew_client.cli.main import _write_every_sign

    for encoding in ("ascii", "cp437", "utf-8"):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
        _write_every_sign(as_json=True)
        sys.stdout.write(json.dumps([text], ensure_ascii=False))
        assert json.loads(written.getvalue().decode(encoding)) == [text]
