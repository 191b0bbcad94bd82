"""Aliases: a gallery's name wherever one is expected, switched from one request to the next."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from askew_client.encoding.encoder import Encoder
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer


@pytest.fixture
def running(data: Path, teacher_file: Path) -> RunningServer:
    """A server whose default gallery is the alias `live` of `objects`; an empty gallery `second` beside it."""
    with RunningServer(data, "--gallery", "live") as server:
        assert server.http.put("/v1/aliases/live", json={"gallery": "objects"}).status_code == 200
        assert server.http.put("/v1/galleries/second", content=teacher_file.read_bytes()).status_code == 201
        yield server


def test_an_alias_works_wherever_a_gallery_does(
    running: RunningServer, headers: dict[str, str], body: bytes, photo: Path, teacher: Encoder, teacher_file: Path
) -> None:
    for path in ("/search", "/v1/galleries/live/search", "/v1/galleries/objects/search"):
        answer = running.http.post(path, content=body, headers=headers).json()
        assert (answer["gallery"], answer["hits"][0]["id"]) == ("objects", photo.stem)
    described = running.http.get("/v1/galleries/live").json()
    assert (described["name"], described["aliases"]) == ("objects", ["live"])
    item = {"id": "one", "vector": np.eye(1, 64, dtype=np.float32)[0].tolist()}
    upsert = {"space": teacher.space_id, "items": [item]}
    assert running.http.put("/v1/galleries/live/items", json=upsert).status_code == 200
    assert running.http.get("/v1/galleries/objects/items/one").status_code == 200
    assert running.http.get(f"/v1/galleries/live/items/{photo.stem}/photo").content == photo.read_bytes()
    again = running.http.put("/v1/galleries/live", content=teacher_file.read_bytes())
    assert (again.status_code, again.json()["name"]) == (200, "objects")


def test_an_alias_is_switched_and_switched_back_and_survives_a_kill(running: RunningServer, data: Path) -> None:
    switched = running.http.put("/v1/aliases/live", json={"gallery": "second"}).json()
    assert switched == {"alias": "live", "gallery": "second", "previous": "objects"}
    assert running.http.get("/v1/galleries/live").json()["name"] == "second"
    back = running.http.put("/v1/aliases/live", json={"gallery": "objects"}).json()
    assert back == {"alias": "live", "gallery": "objects", "previous": "second"}
    running.http.put("/v1/aliases/live", json={"gallery": "second"})
    running.kill()
    with RunningServer(data, "--gallery", "live") as again:
        assert again.http.get("/v1/aliases").json() == {"aliases": {"live": "second"}}
        assert again.http.get("/v1/galleries/live").json()["name"] == "second"


def test_names_of_galleries_and_aliases_do_not_collide(running: RunningServer, teacher_file: Path) -> None:
    taken = running.http.put("/v1/aliases/second", json={"gallery": "objects"})
    assert_problem(taken, 409, "alias-conflict", "There is a gallery 'second'")
    # A gallery cannot be made over an alias: the name means the gallery that the alias names.
    same = running.http.put("/v1/galleries/live", content=teacher_file.read_bytes())
    assert (same.status_code, same.json()["name"]) == (200, "objects")
    assert_problem(running.http.put("/v1/aliases/Bad!", json={"gallery": "objects"}), 422, "validation")
    assert_problem(running.http.put("/v1/aliases/x", json={"gallery": "none"}), 404, "unknown-gallery", "'none'")
    assert_problem(running.http.put("/v1/aliases/x", json={"galery": "objects"}), 422, "validation")
    assert_problem(running.http.delete("/v1/aliases/x"), 404, "unknown-alias", "Known: live")


def test_a_gallery_with_an_alias_is_not_deleted(running: RunningServer) -> None:
    running.http.put("/v1/aliases/other", json={"gallery": "second"})
    refused = running.http.delete("/v1/galleries/second")
    problem = assert_problem(refused, 409, "gallery-in-use", "alias 'other'")
    assert problem["aliases"] == ["other"]
    assert_problem(running.http.delete("/v1/galleries/other"), 409, "gallery-in-use")
    assert running.http.delete("/v1/aliases/other").json() == {"deleted": "other"}
    assert running.http.delete("/v1/galleries/second").json() == {"deleted": "second"}
    # The default gallery is protected under its own name, too.
    assert_problem(running.http.delete("/v1/galleries/objects"), 409, "gallery-in-use")


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
    for gallery in ("second", "objects") * 15:
        assert running.http.put("/v1/aliases/live", json={"gallery": gallery}).status_code == 200
        # What is asked after the switch was acknowledged is answered by the new one.
        assert running.http.post("/search", content=body, headers=headers).json()["gallery"] == gallery
    stopped.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert {gallery for _, gallery in answers} == {"objects", "second"}
