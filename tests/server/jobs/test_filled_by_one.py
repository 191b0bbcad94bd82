"""A gallery that is filled has one source and no clients: whoever interferes loses nothing, and hears of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from pydantic import BaseModel, JsonValue

from askew_client.contract.problems import ProblemKind
from askew_client.encoding.encoder import Encoder
from askew_client.files import write_atomically
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.catching_up import CatchingUp
from askew_server.jobs.change_teacher import ChangeTeacherJob
from askew_server.jobs.gallery_access import JobDescriber
from askew_server.jobs.kind import JobStopped, Task
from askew_server.jobs.redescribe import RedescribeJob
from askew_server.processes import Limits
from askew_server.storage.items import ItemBatch, StoredItem
from tests.server.jobs.conftest import PHOTOS
from tests.support.gallery_files import unit_vector
from tests.support.job_waiting import wait_for_job
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer
from tests.support.waiting import DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PIXELS = 10_000_000


@pytest.fixture
def data(two_galleries: Path) -> Path:
    return two_galleries


@pytest.fixture
def galleries(data: Path) -> Iterator[Catalog]:
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        yield catalog


def _never() -> bool:
    return False


def _ids(gallery: LiveGallery) -> dict[str, object]:
    return gallery.run(lambda each: {row.id: row.payload for row in each.store.page("", 1000)})


def _write(gallery: LiveGallery, identity: str, photo: Path | None, payload: dict[str, JsonValue]) -> None:
    content = None if photo is None else (photo.read_bytes(), ".jpg")
    item = StoredItem(identity, unit_vector(1, dim=gallery.dim), payload, content)
    gallery.run(lambda each: each.upsert(ItemBatch.of([item])))


def _change(galleries: Catalog, folder: Path, cancelled: Callable[[], bool] = lambda: False) -> Callable[[], BaseModel]:
    parameters: dict[str, JsonValue] = {
        "alias": "live", "into": "next", "accept_loss": True, "hold_seconds": 10, "switch": True
    }  # fmt: skip
    task = Task("one", "objects", parameters, folder / "one")
    task.folder.mkdir()
    redescribing = RedescribeJob(galleries, max_pixels=PIXELS, limits=Limits())
    job = ChangeTeacherJob(galleries, redescribing, max_pixels=PIXELS, limits=Limits())
    return partial(job.run, task, lambda *_: None, cancelled)


def _redescribe(galleries: Catalog, folder: Path) -> Callable[[], BaseModel]:
    job = RedescribeJob(galleries, max_pixels=PIXELS, limits=Limits())
    return partial(job.run, Task("one", "objects", {"into": "next"}, folder / "one"), lambda *_: None, _never)


def _while_described(monkeypatch: pytest.MonkeyPatch, interfere: Callable[[], None]) -> None:
    """Interfere once photos have been described, and before they are written."""
    describe = JobDescriber.describe

    def and_then_interfere(describer: JobDescriber, photos: list[Path]) -> list[object]:
        described = describe(describer, photos)
        interfere()
        return list(described)

    monkeypatch.setattr(JobDescriber, "describe", and_then_interfere)


@pytest.mark.parametrize("job", [_redescribe, _change])
def test_what_clients_write_to_a_gallery_that_an_alias_names_meanwhile_is_not_undone(
    job: Callable[[Catalog, Path], Callable[[], BaseModel]],
    galleries: Catalog,
    chosen: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new = galleries.get("next")
    identity = chosen[0].stem

    def switch_and_write() -> None:
        galleries.set_alias("other", "next")
        _write(galleries.get("other"), identity, chosen[1], {"from": "a client"})

    _while_described(monkeypatch, switch_and_write)
    with pytest.raises(Refusal) as caught:
        job(galleries, tmp_path)()
    assert caught.value.kind == ProblemKind.GALLERY_IN_USE
    assert _ids(new) == {identity: {"from": "a client"}}


def test_a_gallery_that_another_job_fills_meanwhile_is_left_to_that_one(
    galleries: Catalog, chosen: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = galleries.get("next")

    def record_another(filled: Gallery) -> None:
        (filled.store.folder / "redescribed-from.json").write_text(json.dumps({"gallery": "third"}))

    _while_described(monkeypatch, lambda: new.run(record_another))
    with pytest.raises(Refusal, match="another job fills it from 'third'") as caught:
        _change(galleries, tmp_path)()
    assert caught.value.kind == ProblemKind.GALLERY_CONFLICT
    assert _ids(new) == {}
    assert galleries.resolve("live") == "objects"


def _in_the_hold(monkeypatch: pytest.MonkeyPatch, source: LiveGallery, interfere: Callable[[], None]) -> list[bool]:
    """Interfere after the last round; returns what tells how often that was."""
    catch_up = CatchingUp.catch_up
    held: list[bool] = []

    def and_then_interfere(catching_up: CatchingUp) -> None:
        catch_up(catching_up)
        if source.held_until:
            held.append(True)
            interfere()

    monkeypatch.setattr(CatchingUp, "catch_up", and_then_interfere)
    return held


def test_an_alias_does_not_come_to_name_an_empty_gallery_that_was_made_under_the_name_meanwhile(
    galleries: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = galleries.get("next").teacher

    def make_anew() -> None:
        galleries.delete("next")
        galleries.get_or_create("next", teacher)

    _in_the_hold(monkeypatch, galleries.get("objects"), make_anew)
    with pytest.raises(Refusal, match="'next'"):
        _change(galleries, tmp_path)()
    assert galleries.resolve("live") == "objects"
    assert len(_ids(galleries.get("live"))) == PHOTOS


@pytest.mark.parametrize("is_deleted", [False, True])
def test_an_alias_that_somebody_else_switches_stays_as_it_is_and_the_job_says_so(
    is_deleted: bool, galleries: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    galleries.get_or_create("third", galleries.get("objects").teacher)

    def take_away() -> None:
        if is_deleted:
            galleries.delete_alias("live")
        else:
            galleries.set_alias("live", "third")

    held = _in_the_hold(monkeypatch, galleries.get("objects"), take_away)
    with pytest.raises(Refusal, match="was deleted" if is_deleted else "names 'third' now") as caught:
        _change(galleries, tmp_path)()
    assert caught.value.kind == ProblemKind.GALLERY_CONFLICT
    assert galleries.aliases() == ({} if is_deleted else {"live": "third"})
    assert held == [True]
    assert galleries.get("objects").held_until == 0


def test_an_alias_that_is_switched_at_the_same_moment_stays_as_it_was_told_last(
    galleries: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old gallery is deleted at once, too: that waits for the writer which makes the switch."""
    galleries.get_or_create("third", galleries.get("objects").teacher)

    def by_hand() -> None:
        galleries.set_alias("live", "third")
        galleries.delete("objects")

    thread = threading.Thread(target=by_hand, daemon=True)

    def and_by_hand(path: Path, content: bytes) -> None:
        write_atomically(path, content)
        thread.start()
        thread.join(1)

    monkeypatch.setattr("askew_server.jobs.change_teacher.write_atomically", and_by_hand)
    _change(galleries, tmp_path)()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert galleries.aliases() == {"live": "third"}
    assert galleries.names() == ["next", "third"]


def test_what_was_deleted_since_an_earlier_change_does_not_come_back(
    galleries: Catalog, chosen: list[Path], tmp_path: Path
) -> None:
    """Switched, written to without photos, switched back: the new gallery has items that the old one has not."""
    old, new = galleries.get("objects"), galleries.get("next")
    _redescribe(galleries, tmp_path)()
    deleted, replaced = chosen[0].stem, chosen[1].stem
    galleries.set_alias("live", "next")
    for identity in (deleted, replaced, "added"):
        _write(galleries.get("live"), identity, None, {})
    galleries.set_alias("live", "objects")
    old.run(partial(Gallery.delete, item_id=deleted))
    _change(galleries, tmp_path)()
    assert _ids(new) == _ids(old)
    assert deleted not in _ids(galleries.get("live"))


def test_a_second_job_for_a_gallery_that_is_filled_is_refused(data: Path, chosen: list[Path], teacher: Encoder) -> None:
    with RunningServer(data) as server:
        http = server.http
        assert (
            http.put(
                "/v1/galleries/third", json={"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}
            ).status_code
            == 201
        )
        sent = [("photo", (f"{n}", chosen[0].read_bytes() + bytes([n]), "image/jpeg")) for n in range(100)]
        wait_for_job(http, http.post("/v1/galleries/objects/items/photos", files=sent).json()["id"])
        job = http.post("/v1/aliases/live/change-teacher", json={"to": "next"}).json()
        again = http.post("/v1/galleries/third/redescribe", json={"into": "next"})
        problem = assert_problem(again, 409, "job-conflict", job["id"])
        assert problem["state"] in {"waiting", "running"}
        http.put("/v1/aliases/another", json={"gallery": "third"})
        another = http.post("/v1/aliases/another/change-teacher", json={"to": "next"})
        assert_problem(another, 409, "job-conflict", "'next'")
        # The same request again is the same job.
        assert http.post("/v1/aliases/live/change-teacher", json={"to": "next"}).json()["id"] == job["id"]
        assert http.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200


@pytest.mark.parametrize("job", [_redescribe, _change])
def test_neither_gallery_falls_asleep_under_a_job(
    job: Callable[[Catalog, Path], Callable[[], BaseModel]],
    galleries: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[bool] = []
    both = [galleries.get(name) for name in ("objects", "next")]
    _while_described(monkeypatch, lambda: slept.extend(each.sleep() for each in both))
    job(galleries, tmp_path)()
    assert set(slept) == {False}


def test_a_job_that_is_stopped_in_the_hold_ends_it_and_switches_nothing(
    galleries: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled, or the server ends."""
    source, stopped = galleries.get("objects"), threading.Event()
    assert _in_the_hold(monkeypatch, source, stopped.set) == []
    with pytest.raises(JobStopped):
        _change(galleries, tmp_path, stopped.is_set)()
    assert source.held_until == 0
    assert galleries.resolve("live") == "objects"
