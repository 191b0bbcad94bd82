"""The life of a gallery: deleted with everything in it, or not at all, and described while it is busy."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from tests.support.paths import ROOT
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew


@pytest.fixture
def galleries(data: Path) -> Catalog:
    """The galleries of a copy of DATA, opened in this process."""
    opened = Catalog(data, owner="a test")
    opened.load()
    yield opened
    opened.close()


def test_a_deleted_gallery_is_gone_with_its_folder_and_its_name_is_free(data: Path, teacher_file: Path) -> None:
    with RunningServer(data) as running:
        assert running.http.delete("/v1/galleries/objects").json() == {"deleted": "objects"}
        assert_problem(running.http.get("/v1/galleries/objects"), 404, "unknown-gallery")
        assert_problem(running.http.delete("/v1/galleries/objects"), 404, "unknown-gallery")
        assert list((data / "galleries").iterdir()) == []
        made = running.http.put("/v1/galleries/objects", content=teacher_file.read_bytes())
        assert (made.status_code, made.json()["items"]) == (201, 0)
    with RunningServer(data) as again:
        assert again.http.get("/v1/galleries/objects").json()["items"] == 0


def test_the_default_gallery_is_not_deleted(server: RunningServer) -> None:
    refused = server.http.delete("/v1/galleries/objects")
    assert_problem(refused, 409, "gallery-in-use", "POST /search", "--gallery")
    assert server.http.get("/v1/galleries/objects").json()["items"] == 49


@pytest.mark.parametrize("left", [".deleted-objects-0a1b", ".new-objects-0a1b"])
def test_what_a_crash_left_behind_is_no_gallery_and_is_cleaned_up(data: Path, left: str) -> None:
    (data / "galleries" / "objects").rename(data / "galleries" / left)
    opened = Catalog(data, owner="a test")
    try:
        opened.load()
        assert (opened.names(), opened.damaged()) == ([], {})
        assert list((data / "galleries").iterdir()) == []
    finally:
        opened.close()


def test_a_crash_before_the_folder_is_put_aside_leaves_the_gallery_whole(
    data: Path, galleries: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: str) -> Path:
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(galleries._folders, "put_aside", crash)
    with pytest.raises(RuntimeError):
        galleries.delete("objects")
    galleries.close()
    again = Catalog(data, owner="a test")
    try:
        again.load()
        assert again.get("objects").name == "objects"
    finally:
        again.close()


def test_a_gallery_is_begun_as_a_whole(data: Path, galleries: Catalog, teacher: Encoder, monkeypatch) -> None:
    def crash(*_: object) -> Path:
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(galleries._folders, "place", crash)
    with pytest.raises(RuntimeError):
        galleries.get_or_create("begun", teacher.manifest)
    assert not (data / "galleries" / "begun").exists()
    assert galleries.names() == ["objects"]


def test_who_still_holds_a_deleted_gallery_is_told_that_there_is_none(galleries: Catalog) -> None:
    held = galleries.get("objects")
    galleries.delete("objects")
    with pytest.raises(Refusal) as refused:
        held.run(lambda each: each.describe())
    assert refused.value.kind.slug == "unknown-gallery"


def test_a_folder_takes_the_place_of_a_damaged_gallery_but_of_no_other(data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(data / "galleries" / "objects", whole)
    (data / "galleries" / "objects" / "gallery.db").write_bytes(b"no database" * 100)
    opened = Catalog(data, owner="a test")
    try:
        opened.load()
        assert list(opened.damaged()) == ["objects"]
        made = opened.new_folder("objects")
        shutil.copytree(whole, made)
        assert opened.adopt(made, "objects").name == "objects"
        assert (opened.names(), opened.damaged()) == (["objects"], {})
        shutil.copytree(whole, made)
        with pytest.raises(Refusal, match="There is a gallery 'objects' already"):
            opened.adopt(made, "objects")
        assert [folder.name for folder in (data / "galleries").iterdir() if folder != made] == ["objects"]
    finally:
        opened.close()


def test_galleries_are_listed_while_one_is_written_to(data: Path, teacher_file: Path) -> None:
    with RunningServer(data, "--gallery", "objects") as running:
        database = sqlite3.connect(data / "galleries" / "objects" / "gallery.db", isolation_level=None)
        # Somebody's transaction holds up the gallery's writes.
        database.execute("BEGIN IMMEDIATE")
        url = "/v1/galleries/objects/items/one"
        answers = []
        photo = next((ROOT / "demo" / "gallery").glob("*.jpg")).read_bytes()
        headers = {"Content-Type": "image/jpeg"}
        writing = threading.Thread(target=lambda: answers.append(running.http.put(url, content=photo, headers=headers)))
        writing.start()
        writing.join(1.5)
        assert writing.is_alive()
        listed = running.http.get("/v1/galleries", timeout=2).json()
        assert [gallery["name"] for gallery in listed["galleries"]] == ["objects"]
        assert running.http.get("/v1/galleries/objects", timeout=2).json()["items"] == 49
        assert writing.is_alive()
        database.execute("ROLLBACK")
        database.close()
        writing.join()
        assert answers[0].status_code == 200


@pytest.mark.parametrize("served", [True, False])
def test_the_command_line(data: Path, teacher_file: Path, served: bool) -> None:
    running = RunningServer(data, "--gallery", "objects") if served else None
    where = ("--server", running.url) if running else ("--data", str(data))
    try:
        made = run_askew("gallery", "create", "second", "--encoder", teacher_file, *where)
        assert made.returncode == 0, made.stderr
        listed = run_askew("gallery", "list", *where)
        assert "objects" in listed.stdout, listed.stderr
        assert "second" in listed.stdout
        assert '"items": 49' in run_askew("gallery", "describe", "objects", "--json", *where).stdout
        assert run_askew("alias", "set", "newest", "second", *where).returncode == 0
        assert "newest" in run_askew("alias", "list", *where).stdout
        refused = run_askew("gallery", "delete", "second", *where)
        assert refused.returncode == 1
        assert "alias 'newest'" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert run_askew("alias", "delete", "newest", *where).returncode == 0
        deleted = run_askew("gallery", "delete", "second", *where)
        assert deleted.returncode == 0, deleted.stderr
        assert "second" not in run_askew("gallery", "list", *where).stdout
    finally:
        if running:
            running.stop()
