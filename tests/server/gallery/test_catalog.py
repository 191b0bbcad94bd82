"""The life of a gallery: created, deleted and replaced as a whole or not at all, and described while it is busy."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from askew_client.encoding.encoder import Encoder
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.folders import GalleryFolders
from askew_server.gallery.gallery import Gallery
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.settings import Settings
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.waiting import DEADLINE, in_thread, wait_until


@contextmanager
def opened(data: Path, folders: Callable[[Path], GalleryFolders] = GalleryFolders) -> Iterator[Catalog]:
    """The galleries of DATA, opened in this process."""
    with closing(Catalog(data, owner="a test", folders=folders)) as catalog:
        catalog.load()
        yield catalog


@pytest.fixture
def catalog(data: Path) -> Iterator[Catalog]:
    with opened(data) as catalog:
        yield catalog


class PowerCutError(Exception):
    """The process ends here."""


def power_cut(copy: Path, *moments: str) -> Callable[[Path], GalleryFolders]:
    """Folders whose DATA is copied to `copy`, as a killed process leaves it, when one of these methods is called."""

    class Folders(GalleryFolders):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.folder = folder

        def place(self, made: Path, name: str) -> Path:
            self._cut("place")
            return super().place(made, name)

        def put_aside(self, name: str) -> Path:
            self._cut("put_aside")
            return super().put_aside(name)

        def remove(self, aside: Path) -> None:
            self._cut("remove")
            super().remove(aside)

        def _cut(self, moment: str) -> None:
            if moment in moments:
                shutil.copytree(self.folder.parent, copy)
                raise PowerCutError

    return Folders


def test_a_deleted_gallery_is_gone_with_its_folder_and_its_name_is_free(
    server: RunningServer, teacher: Encoder
) -> None:
    url, folder = "/v1/galleries/passing", server.data / "galleries" / "passing"
    create = {"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}
    item = {"id": "one", "vector": [1.0] + 63 * [0.0]}
    assert server.http.put(url, json=create).status_code == 201
    assert server.http.put(f"{url}/items", json={"space": teacher.space_id, "items": [item]}).status_code == 200
    assert server.http.delete(url).json() == {"deleted": "passing"}
    assert_problem(server.http.get(url), 404, "unknown-gallery")
    assert_problem(server.http.delete(url), 404, "unknown-gallery")
    assert [path for path in folder.parent.iterdir() if "passing" in path.name] == []
    again = server.http.put(url, json=create)
    assert (again.status_code, again.json()["items"]) == (201, 0)


def test_a_gallery_created_where_one_was_deleted_is_empty_after_a_restart(data: Path, teacher: Encoder) -> None:
    with opened(data) as catalog:
        catalog.delete("objects")
        catalog.get_or_create("objects", teacher.manifest)
    with opened(data) as again:
        assert again.describe("objects").items == 0


def test_the_default_gallery_is_not_deleted(server: RunningServer) -> None:
    refused = server.http.delete("/v1/galleries/objects")
    assert_problem(refused, 409, "gallery-in-use", "POST /search", "--gallery")
    assert server.http.get("/v1/galleries/objects").json()["items"] == 49


def test_what_a_crash_left_behind_is_not_a_gallery_and_is_cleaned_up(data: Path) -> None:
    shutil.copytree(data / "galleries" / "objects", data / "galleries" / ".new-other-0a1b")
    with opened(data) as catalog:
        assert (catalog.names(), catalog.damaged()) == (["objects"], {})
    (data / "galleries" / "objects").rename(data / "galleries" / ".deleted-objects-0a1b")
    with opened(data) as catalog:
        assert (catalog.names(), catalog.damaged()) == ([], {})
        assert list((data / "galleries").glob("[!.]*")) == []


@pytest.mark.parametrize(("moment", "is_left"), [("put_aside", True), ("remove", False)])
def test_a_gallery_is_deleted_as_a_whole_or_not_at_all(data: Path, tmp_path: Path, moment: str, is_left: bool) -> None:
    with opened(data, power_cut(tmp_path / "cut", moment)) as catalog, pytest.raises(PowerCutError):
        catalog.delete("objects")
    with opened(tmp_path / "cut") as again:
        assert again.names() == (["objects"] if is_left else [])
        assert again.damaged() == {}
        assert not is_left or again.describe("objects").items == 49
        assert [path.name for path in (tmp_path / "cut" / "galleries").glob("[!.]*")] == again.names()


def test_a_gallery_is_created_as_a_whole_or_not_at_all(data: Path, teacher: Encoder, tmp_path: Path) -> None:
    with opened(data, power_cut(tmp_path / "cut", "place")) as catalog:
        with pytest.raises(PowerCutError):
            catalog.get_or_create("begun", teacher.manifest)
        assert catalog.names() == ["objects"]
    with opened(tmp_path / "cut") as again:
        assert again.names() == ["objects"]
        assert [path.name for path in (tmp_path / "cut" / "galleries").glob("[!.]*")] == ["objects"]


def test_calls_on_a_deleted_gallery_are_refused_and_never_wait_for_ever(catalog: Catalog) -> None:
    held = catalog.get("objects")
    with held.awake() as index:
        pass
    catalog.delete("objects")
    for call in (lambda: held.run(Gallery.describe), index.statistics, index.status, held.awake().__enter__):
        error = in_thread(call).exception(DEADLINE)
        assert isinstance(error, Refusal)
        assert error.kind.slug == "unknown-gallery"
        assert "'objects' is closed" in str(error)


def test_a_folder_takes_the_place_of_a_damaged_gallery_but_of_no_other(data: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(data / "galleries" / "objects", whole)
    (data / "galleries" / "objects" / "gallery.db").write_bytes(b"no database" * 100)
    with opened(data) as catalog:
        assert list(catalog.damaged()) == ["objects"]
        made = catalog.new_folder("objects")
        shutil.copytree(whole, made)
        assert catalog.adopt(made, "objects").name == "objects"
        assert (catalog.names(), catalog.damaged()) == (["objects"], {})
        shutil.copytree(whole, made)
        with pytest.raises(Refusal, match="There is a gallery 'objects' already"):
            catalog.adopt(made, "objects")
        assert [folder.name for folder in (data / "galleries").glob("[!.]*") if folder != made] == ["objects"]


def test_galleries_are_listed_while_one_is_written_to(data: Path) -> None:
    catalog = Catalog(data, owner="a test")
    state = AppState(Settings(data=data, default_gallery="objects"), catalog)
    released = threading.Event()
    with TestClient(create_app(state, None)) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the server to be ready")
        writing = catalog.get("objects").submit(lambda gallery: released.wait(DEADLINE))
        try:
            listed = client.get("/v1/galleries").json()
            assert [gallery["name"] for gallery in listed["galleries"]] == ["objects"]
            assert client.get("/v1/galleries/objects").json()["items"] == 49
            assert not writing.done()
        finally:
            released.set()
        assert writing.result(DEADLINE)
