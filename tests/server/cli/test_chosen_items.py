"""`askew items count` and `askew items delete`: the items that are meant, no others, with a server and without one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from askew_server.storage.items import StoredItem
from tests.support.command_line import call_askew
from tests.support.gallery_files import stored_items, unit_vector, write_gallery
from tests.support.running_server import RunningServer, run_askew

Target = list[str | Path]
IDS = ["a/b c", "-x", "ü", "b0", "b1", "b2"]


@pytest.fixture
def data(tmp_path: Path, teacher_file: Path) -> Path:
    items = [StoredItem(name, unit_vector(seed), {"n": seed}) for seed, name in enumerate(IDS)]
    write_gallery(tmp_path / "data", "objects", teacher_file, items, aliases=["live"])
    return tmp_path / "data"


@pytest.fixture(params=["data", pytest.param("server", marks=pytest.mark.slow)])
def target(request: pytest.FixtureRequest, data: Path) -> Iterator[Target]:
    if request.param == "data":
        yield ["--data", data]
        return
    with RunningServer(data) as server:
        yield ["--server", server.url]


def _filter(**condition: object) -> list[str]:
    return ["--filter", json.dumps({"field": "n", **condition})]


def test_items_are_counted(target: Target) -> None:
    for arguments, expected in (([], "6\n"), (_filter(range={"gte": 3}), "3\n"), (_filter(eq=9), "0\n")):
        done = call_askew("items", "count", "--gallery", "live", *arguments, *target)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    unknown = json.dumps({"not": {"field": "m", "eq": 1}})
    done = call_askew("items", "count", "--gallery", "objects", "--filter", unknown, "--json", *target)
    assert json.loads(done.stdout) == {"count": 6, "unknown_fields": ["m"]}
    assert "warning: no item of the gallery has the field 'm'" in done.stderr
    done = call_askew("items", "count", "--gallery", "objects", *_filter(eq="3"), *target)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Types are not converted" in done.stderr


def test_ids_without_an_item_are_named_and_the_others_deleted(target: Target, data: Path) -> None:
    strange = ["\t", "", "no" * 300, "none"]
    done = call_askew(
        "items", "delete", "--gallery", "live", "--yes", "--json", *target, "--", *IDS[:3], "-x", *strange
    )
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert (report["deleted"], report["taken"], report["unmatched"]["count"]) == (3, 3, 4)
    assert list(report["unmatched"]["reasons"]["no item has this id"]["first"]) == strange
    assert "unmatched: 4 items, no item has this id\n" in done.stderr
    assert "  none\n" in done.stderr
    assert set(stored_items(data)) == set(IDS[3:])
    done = call_askew("items", "delete", "b0", "b0", "--gallery", "objects", "--yes", *target)
    assert (done.returncode, done.stdout) == (0, "Gallery 'objects': 1 item deleted.\n")
    done = call_askew("items", "delete", "b0", "--gallery", "objects", "--yes", *target)
    assert (done.returncode, done.stdout) == (3, "Gallery 'objects': 0 items deleted, 1 of the ids not found.\n")
    assert call_askew("items", "count", "--gallery", "objects", *target).stdout == "2\n"


def test_items_that_meet_a_condition_are_deleted(target: Target, data: Path) -> None:
    done = call_askew("items", "delete", "--gallery", "objects", "--yes", *_filter(range={"lt": 4}), *target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Gallery 'objects': 4 items deleted.\n", "")
    assert set(stored_items(data)) == {"b1", "b2"}
    unknown = json.dumps({"or": [{"field": "m", "eq": 1}, {"field": "n", "eq": 4}]})
    done = call_askew("items", "delete", "--gallery", "objects", "--yes", "--json", "--filter", unknown, *target)
    report = json.loads(done.stdout)
    assert (done.returncode, report["deleted"], report["unknown_fields"]) == (0, 1, ["m"])
    assert done.stderr.count("warning: no item of the gallery has the field 'm'") == 1
    done = call_askew("items", "delete", "--gallery", "objects", "--yes", *_filter(eq="5"), *target)
    assert (done.returncode, done.stdout) == (1, "")
    assert set(stored_items(data)) == {"b2"}


@pytest.mark.parametrize("chosen", [["b0"], _filter(eq=3), ["\t"]])
def test_a_gallery_that_does_not_exist_is_named(target: Target, chosen: list[str]) -> None:
    for command in (["delete", *chosen, "--yes"], ["count"]):
        done = call_askew("items", *command, "--gallery", "nothing", *target)
        assert (done.returncode, done.stdout) == (1, "")
        assert "There is no gallery 'nothing'" in done.stderr


@pytest.mark.parametrize(("chosen", "got"), [([], "neither"), (["b0", *_filter(eq=1)], "both")])
def test_exactly_one_choice_is_expected(data: Path, chosen: list[str], got: str) -> None:
    done = call_askew("items", "delete", *chosen, "--yes", "--gallery", "objects", "--data", data)
    assert done.returncode == 1
    assert f"Expected the ids of items, or a condition with --filter, got {got}. Nothing was deleted." in done.stderr
    assert set(stored_items(data)) == set(IDS)


def test_a_deletion_in_data_is_known_to_the_next_server(data: Path) -> None:
    assert call_askew("items", "delete", "b0", "--yes", "--gallery", "objects", "--data", data).returncode == 0
    with RunningServer(data) as server:
        found = server.http.get("/v1/galleries/objects/items/b1/similar").json()
        assert {hit["id"] for hit in found["hits"]} == set(IDS) - {"b0", "b1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "question"),
    [
        (["b0", "none", "b1"], "Delete 2 items of gallery 'objects'?"),
        (_filter(range={"gte": 1}), "Delete 5 items of gallery 'objects'?"),
        (["b0"], "Delete 1 item of gallery 'objects'?"),
        (["none"], None),
    ],
)
@pytest.mark.parametrize("answer", ["n", "y"])
def test_the_question_says_how_many_items_would_go(
    data: Path, chosen: list[str], question: str | None, answer: str
) -> None:
    before = set(stored_items(data))
    ours, theirs = pty.openpty()
    place = ["--gallery", "objects", "--data", str(data)]
    command = [sys.executable, "-m", "askew_client.cli.main", "items", "delete", *chosen, *place]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    out, err = process.communicate(timeout=120)
    os.close(ours)
    gone = before - set(stored_items(data))
    if question is None:
        assert (process.returncode, len(gone), "Delete" in err) == (3, 0, False)
        return
    assert question in err
    if answer == "n":
        assert (process.returncode, out, gone) == (1, "", set())
        return
    assert len(gone) == int(question.split()[1])
    assert process.returncode == (3 if "none" in chosen else 0)
    assert "deleted" in out


@pytest.mark.slow
def test_a_key_that_may_search_counts_and_deletes_nothing(data: Path) -> None:
    keys = {
        scope: run_askew("key", "create", scope, "--scope", scope, "--data", data).stdout.strip()
        for scope in ("search", "write")
    }
    with RunningServer(data) as server:
        place = ["--server", server.url, "--gallery", "objects", "--key"]
        assert call_askew("items", "count", *_filter(eq=3), *place, keys["search"]).stdout == "1\n"
        assert call_askew("items", "count", *place, keys["write"]).stdout == "6\n"
        refused = call_askew("items", "delete", "b0", "--yes", *place, keys["search"])
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "write" in refused.stderr
        assert call_askew("items", "delete", "b0", "--yes", *place, keys["write"]).returncode == 0
    assert set(stored_items(data)) == set(IDS) - {"b0"}
