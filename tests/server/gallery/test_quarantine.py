"""A damaged gallery is set aside with its reason; the server starts, and serves the others."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer


def _overwritten(gallery: Path) -> None:
    (gallery / "gallery.db").write_bytes(b"this is not a database at all" * 400)


def _truncated(gallery: Path) -> None:
    with closing(sqlite3.connect(gallery / "gallery.db")) as database:
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
    with closing(sqlite3.connect(gallery / "gallery.db")) as database, database:
        database.execute("DELETE FROM facts WHERE key IN ('space', 'teacher')")


def _of_a_newer_layout(gallery: Path) -> None:
    with closing(sqlite3.connect(gallery / "gallery.db")) as database, database:
        database.execute("UPDATE facts SET value = '99' WHERE key = 'layout'")


DAMAGES = {
    damage.__name__.strip("_").replace("_", "-"): damage
    for damage in (_overwritten, _truncated, _empty, _missing, _without_facts, _of_a_newer_layout)
}


@pytest.fixture(scope="module")
def running(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the gallery `objects`, and one damaged copy of it for each kind of damage."""
    data = tmp_path_factory.mktemp("quarantine") / "data"
    shutil.copytree(indexed / "data", data)
    for name, damage in DAMAGES.items():
        shutil.copytree(data / "galleries" / "objects", data / "galleries" / name)
        damage(data / "galleries" / name)
    with RunningServer(data, "--gallery", "objects") as server:
        yield server


def test_the_other_galleries_are_served_and_the_damaged_ones_listed(
    running: RunningServer, headers: dict[str, str], body: bytes, photo: Path
) -> None:
    found = running.http.post("/search", content=body, headers=headers).json()
    assert found["hits"][0]["id"] == photo.stem
    listed = running.http.get("/v1/galleries").json()
    assert [gallery["name"] for gallery in listed["galleries"]] == ["objects"]
    assert [damaged["name"] for damaged in listed["damaged"]] == sorted(DAMAGES)
    ready = running.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"], ready.json()["quarantined"]) == (200, "ok", len(DAMAGES))


@pytest.mark.parametrize("name", DAMAGES)
def test_every_call_of_a_damaged_gallery_says_what_is_damaged(
    running: RunningServer, headers: dict[str, str], body: bytes, name: str
) -> None:
    listed = running.http.get("/v1/galleries").json()["damaged"]
    (reason,) = [damaged["reason"] for damaged in listed if damaged["name"] == name]
    assert f"galleries/{name}" in reason
    url = f"/v1/galleries/{name}"
    calls = [
        running.http.get(url),
        running.http.post(f"{url}/search", content=body, headers=headers),
        running.http.get(f"{url}/items"),
        running.http.get(f"{url}/items/one"),
        running.http.delete(f"{url}/items/one"),
    ]
    for answer in calls:
        assert_problem(answer, 503, "damaged-gallery", f"galleries/{name}", "askew doctor", "restore")
    assert_problem(running.http.put("/v1/aliases/one", json={"gallery": name}), 503, "damaged-gallery")
    assert_problem(running.http.put(f"/v1/aliases/{name}", json={"gallery": "objects"}), 409, "alias-conflict")


@pytest.mark.slow
def test_a_damaged_gallery_can_be_deleted_even_when_it_is_the_default(data: Path, teacher: Encoder) -> None:
    _overwritten(data / "galleries" / "objects")
    create = {"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}
    with RunningServer(data, "--gallery", "objects") as server:
        assert_problem(server.http.post("/search", content=b""), 503, "damaged-gallery")
        assert_problem(server.http.put("/v1/galleries/objects", json=create), 503, "damaged-gallery")
        assert server.http.delete("/v1/galleries/objects").json() == {"deleted": "objects"}
        assert server.http.put("/v1/galleries/objects", json=create).status_code == 201
        assert server.http.get("/v1/galleries").json().get("damaged", []) == []


@pytest.mark.slow
def test_damage_that_shows_later_is_reported_as_such(data: Path, photo: Path) -> None:
    database_file = data / "galleries" / "objects" / "gallery.db"
    with closing(sqlite3.connect(database_file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'items'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with RunningServer(data, "--gallery", "objects") as server:
        with database_file.open("r+b") as stream:
            stream.seek((root - 1) * size)
            stream.write(b"\xff" * size)
        answers = [server.http.get(f"/v1/galleries/objects/items?limit={limit}") for limit in (1, 100, 1000)]
        answers += [server.http.get(f"/v1/galleries/objects/items/{photo.stem}")]
        for answer in answers:
            assert_problem(answer, 503, "damaged-gallery", "askew doctor")


def test_a_damaged_askew_db_is_named_and_the_server_does_not_start(data: Path) -> None:
    (data / "askew.db").write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match=r"askew\.db cannot be used"):
        RunningServer(data)
