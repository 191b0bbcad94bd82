"""Aliases: a gallery's name wherever one is expected, switched atomically."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer


@pytest.fixture(scope="module")
def prepared(indexed: Path, teacher: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA directory with the galleries `objects`, `second` and `third`, and the alias `live` of `objects`."""
    data = tmp_path_factory.mktemp("aliases") / "data"
    shutil.copytree(indexed / "data", data)
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        for name in ("second", "third"):
            catalog.get_or_create(name, teacher.manifest)
        catalog.set_alias("live", "objects")
    return data


@pytest.fixture(scope="module")
def served(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    copy = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(prepared, copy)
    with RunningServer(copy, "--gallery", "live") as server:
        yield server


@pytest.fixture
def running(served: RunningServer) -> RunningServer:
    """A server whose default gallery is the alias `live` of `objects`."""
    assert served.http.put("/v1/aliases/live", json={"gallery": "objects"}).status_code == 200
    return served


def test_an_alias_works_wherever_a_gallery_does(
    running: RunningServer, headers: dict[str, str], body: bytes, photo: Path, teacher: Encoder
) -> None:
    for path in ("/search", "/search?gallery=live", "/v1/galleries/live/search", "/v1/galleries/objects/search"):
        answer = running.http.post(path, content=body, headers=headers).json()
        assert (answer["gallery"], answer["hits"][0]["id"]) == ("objects", photo.stem)
    described = running.http.get("/v1/galleries/live").json()
    assert (described["name"], described["aliases"]) == ("objects", ["live"])
    item = {"id": "one", "vector": np.eye(1, 64, dtype=np.float32)[0].tolist()}
    upsert = {"space": teacher.space_id, "items": [item]}
    assert running.http.put("/v1/galleries/live/items", json=upsert).status_code == 200
    assert running.http.get("/v1/galleries/objects/items/one").status_code == 200
    assert running.http.get(f"/v1/galleries/live/items/{photo.stem}/photo").content == photo.read_bytes()
    create = {"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}
    again = running.http.put("/v1/galleries/live", json=create)
    assert (again.status_code, again.json()["name"]) == (200, "objects")


def test_names_of_galleries_and_aliases_do_not_collide(running: RunningServer, teacher: Encoder) -> None:
    taken = running.http.put("/v1/aliases/second", json={"gallery": "objects"})
    assert_problem(taken, 409, "alias-conflict", "There is a gallery 'second'")
    assert_problem(running.http.put("/v1/aliases/Bad!", json={"gallery": "objects"}), 422, "validation")
    assert_problem(running.http.put("/v1/aliases/x", json={"gallery": "none"}), 404, "unknown-gallery", "'none'")
    assert_problem(running.http.put("/v1/aliases/x", json={"galery": "objects"}), 422, "validation")
    assert_problem(running.http.delete("/v1/aliases/x"), 404, "unknown-alias", "Known: live")


def test_a_gallery_with_an_alias_is_not_deleted(running: RunningServer) -> None:
    running.http.put("/v1/aliases/other", json={"gallery": "third"})
    refused = running.http.delete("/v1/galleries/third")
    problem = assert_problem(refused, 409, "gallery-in-use", "alias 'other'")
    assert problem["aliases"] == ["other"]
    assert_problem(running.http.delete("/v1/galleries/other"), 409, "gallery-in-use")
    assert running.http.delete("/v1/aliases/other").json() == {"deleted": "other"}
    assert running.http.delete("/v1/galleries/third").json() == {"deleted": "third"}
    # The default gallery is protected under its own name, too.
    assert_problem(running.http.delete("/v1/galleries/objects"), 409, "gallery-in-use")


@pytest.mark.slow
def test_no_search_fails_while_an_alias_is_switched(
    running: RunningServer, headers: dict[str, str], body: bytes
) -> None:
    answers: list[tuple[int, str]] = []
    stopped = threading.Event()

    def search() -> None:
        while not stopped.is_set():
            answer = running.http.post("/search", content=body, headers=headers)
            answers.append((answer.status_code, answer.json().get("gallery", answer.text)))

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for gallery in ("second", "objects") * 15:
            assert running.http.put("/v1/aliases/live", json={"gallery": gallery}).status_code == 200
            # Searches after the switch was acknowledged are answered by the new gallery.
            assert running.http.post("/search", content=body, headers=headers).json()["gallery"] == gallery
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert {gallery for _, gallery in answers} == {"objects", "second"}


@pytest.mark.slow
def test_a_switch_reports_the_previous_gallery_and_survives_a_kill(prepared: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    with RunningServer(data, "--gallery", "live") as server:
        switched = server.http.put("/v1/aliases/live", json={"gallery": "second"}).json()
        assert switched == {"alias": "live", "gallery": "second", "previous": "objects"}
        assert server.http.get("/v1/galleries/live").json()["name"] == "second"
        back = server.http.put("/v1/aliases/live", json={"gallery": "objects"}).json()
        assert back == {"alias": "live", "gallery": "objects", "previous": "second"}
        server.http.put("/v1/aliases/live", json={"gallery": "second"})
        server.kill()
    with RunningServer(data, "--gallery", "live") as again:
        assert again.http.get("/v1/aliases").json() == {"aliases": {"live": "second"}}
        assert again.http.get("/v1/galleries/live").json()["name"] == "second"
