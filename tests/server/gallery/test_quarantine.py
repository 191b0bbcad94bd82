"""A damaged gallery is set aside with its reason; the server starts, and the others serve."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer


def _no_database(gallery: Path) -> None:
    (gallery / "gallery.db").write_bytes(b"this is no database at all" * 400)


def _truncated(gallery: Path) -> None:
    with sqlite3.connect(gallery / "gallery.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = (gallery / "gallery.db").read_bytes()
    (gallery / "gallery.db").write_bytes(content[: len(content) // 3])


def _empty(gallery: Path) -> None:
    for path in gallery.glob("gallery.db*"):
        path.unlink()
    (gallery / "gallery.db").touch()


def _missing(gallery: Path) -> None:
    for path in gallery.glob("gallery.db*"):
        path.unlink()


def _without_facts(gallery: Path) -> None:
    with sqlite3.connect(gallery / "gallery.db") as database:
        database.execute("DELETE FROM facts WHERE key IN ('space', 'teacher')")


def _of_a_newer_layout(gallery: Path) -> None:
    with sqlite3.connect(gallery / "gallery.db") as database:
        database.execute("UPDATE facts SET value = '99' WHERE key = 'layout'")


DAMAGES = [_no_database, _truncated, _empty, _missing, _without_facts, _of_a_newer_layout]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_the_others_serve_and_the_damaged_one_says_what_is_wrong(
    data: Path, headers: dict[str, str], body: bytes, photo: Path, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(data / "galleries" / "objects", data / "galleries" / "broken")
    damage(data / "galleries" / "broken")
    with RunningServer(data, "--gallery", "objects") as running:
        found = running.http.post("/search", content=body, headers=headers).json()
        assert found["hits"][0]["id"] == photo.stem
        listed = running.http.get("/v1/galleries").json()
        assert [gallery["name"] for gallery in listed["galleries"]] == ["objects"]
        (set_aside,) = listed["damaged"]
        assert set_aside["name"] == "broken"
        assert "galleries/broken" in set_aside["reason"]
        calls = [
            running.http.get("/v1/galleries/broken"),
            running.http.post("/v1/galleries/broken/search", content=body, headers=headers),
            running.http.get("/v1/galleries/broken/items"),
            running.http.get("/v1/galleries/broken/items/one"),
            running.http.delete("/v1/galleries/broken/items/one"),
        ]
        for answer in calls:
            assert_problem(answer, 503, "damaged-gallery", "galleries/broken", "askew doctor", "restore")
        assert_problem(running.http.put("/v1/aliases/one", json={"gallery": "broken"}), 503, "damaged-gallery")
        assert_problem(running.http.put("/v1/aliases/broken", json={"gallery": "objects"}), 409, "alias-conflict")
        ready = running.http.get("/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["quarantined"]) == (200, "ok", 1)


def test_a_damaged_gallery_can_be_deleted_even_when_it_is_the_default(data: Path, teacher_file: Path) -> None:
    _no_database(data / "galleries" / "objects")
    with RunningServer(data, "--gallery", "objects") as running:
        assert_problem(running.http.post("/search", content=b""), 503, "damaged-gallery")
        refused = running.http.put("/v1/galleries/objects", content=teacher_file.read_bytes())
        assert_problem(refused, 503, "damaged-gallery")
        assert running.http.delete("/v1/galleries/objects").json() == {"deleted": "objects"}
        assert running.http.put("/v1/galleries/objects", content=teacher_file.read_bytes()).status_code == 201
        assert running.http.get("/v1/galleries").json().get("damaged", []) == []


def test_damage_that_shows_later_is_told_as_such(data: Path, photo: Path) -> None:
    with sqlite3.connect(data / "galleries" / "objects" / "gallery.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        table = "items"
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with RunningServer(data, "--gallery", "objects") as running:
        with (data / "galleries" / "objects" / "gallery.db").open("r+b") as stream:
            stream.seek((root - 1) * size)
            stream.write(b"\xff" * size)
        answers = [running.http.get(f"/v1/galleries/objects/items?limit={limit}") for limit in (1, 100, 1000)]
        answers += [running.http.get(f"/v1/galleries/objects/items/{photo.stem}")]
        for answer in answers:
            assert_problem(answer, 503, "damaged-gallery", "askew doctor")


def test_a_damaged_askew_db_is_named_and_the_server_does_not_start(data: Path) -> None:
    (data / "askew.db").write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match=r"askew\.db cannot be read"):
        RunningServer(data)
