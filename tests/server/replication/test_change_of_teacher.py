"""A replica while its primary's teacher is changed: its alias never names a gallery that lacks what had been described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.gallery import Gallery
from askew_server.jobs.redescribe import RedescribeJob
from askew_server.processes import Limits
from askew_server.replication.feed import Feed
from askew_server.replication.source import Source
from askew_server.storage.facts import write_origin
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.photos import photo_member
from tests.support.alias_writers import AliasWriters
from tests.support.gallery_files import described, unit_vector, write_gallery
from tests.support.paths import DEMO
from tests.support.replicas import InProcessPrimary, InProcessReplica, contents, serve_replica, status_of
from tests.support.running_server import RunningServer, run_askew, start_askew
from tests.support.small_encoders import make_encoder
from tests.support.teacher_changes import LONG, Phase, change_command, is_reached
from tests.support.waiting import wait_until


@pytest.fixture
def second_file(tmp_path: Path) -> Path:
    """Another teacher, of another space."""
    return make_encoder(tmp_path / "second.onnx", role="teacher", dim=96, seed=5, photo_size=160, version="2")


@pytest.fixture
def primary(tmp_path: Path, teacher_file: Path, second_file: Path) -> Iterator[InProcessPrimary]:
    """Its alias `live` names the first of two galleries."""
    write_gallery(tmp_path / "primary", "objects", teacher_file, [_item(1)], aliases=["live"])
    write_gallery(tmp_path / "primary", "fresh", second_file, [_item(1, 96)])
    with InProcessPrimary(tmp_path / "primary") as running:
        yield running


def _item(number: int, dim: int = 64) -> StoredItem:
    return StoredItem(f"item-{number}", unit_vector(number, dim), {})


def _ids(gallery: Gallery) -> set[str]:
    return {row.id for row in gallery.store.page("", 100)}


@pytest.mark.slow
def test_an_alias_is_not_switched_to_a_copy_that_lacks_the_last_items(
    tmp_path: Path, primary: InProcessPrimary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary describes its last item and switches while a replica asks, and is lost right after that answer."""
    look = Feed._all_galleries

    def look_and_switch(feed: Feed) -> object:
        found = look(feed)
        primary.galleries.get("fresh").run(lambda each: each.upsert(ItemBatch.of([_item(2, 96)])))
        primary.galleries.set_alias("live", "fresh")
        return found

    with InProcessReplica(tmp_path / "replica", primary.http) as replica:
        replica.follow()
        monkeypatch.setattr(Feed, "_all_galleries", look_and_switch)
        replica.follower.follow_once(0)
        named = replica.galleries.get("live")
        assert (named.name, named.run(_ids)) in [("objects", {"item-1"}), ("fresh", {"item-1", "item-2"})]
        monkeypatch.undo()
        replica.follow()
        assert replica.galleries.get("live").run(_ids) == {"item-1", "item-2"}


@pytest.mark.slow
def test_a_replica_knows_what_a_gallery_is_filled_from(
    tmp_path: Path, primary: InProcessPrimary, teacher: Encoder
) -> None:
    """Else the same command would be refused after its promotion: the items there would seem to be somebody's."""
    filled = primary.galleries.get("fresh")
    filled.run(lambda each: write_origin(each.store.folder, "objects"))
    with InProcessReplica(tmp_path / "replica", primary.http) as replica:
        replica.follow()
        job = RedescribeJob(replica.galleries, max_pixels=10_000_000, limits=Limits())
        assert job.check("live", "fresh", "live") == ("objects", "fresh")


@pytest.mark.slow
def test_an_item_that_is_replaced_while_it_is_copied_never_lacks_its_photo(
    tmp_path: Path, primary: InProcessPrimary, teacher: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion at that moment would leave an item whose photo no new teacher can describe."""

    def put(photo: bytes) -> None:
        form = {"vector": pack_base64(unit_vector(7)), "dtype": "f16le", "space": teacher.space_id}
        files = {"photo": ("photo.jpg", photo, "image/jpeg")}
        answer = primary.http.put("/v1/galleries/objects/items/pictured", data=form, files=files)
        assert answer.status_code == 200, answer.text

    content = min((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size).read_bytes()
    put(content)
    fetch = Source.photo
    later = [content + b"1", content + b"2"]

    def replace_and_fetch(source: Source, *asked: str) -> bytes | None:
        if later:
            put(later.pop())
        return fetch(source, *asked)

    monkeypatch.setattr(Source, "photo", replace_and_fetch)
    with InProcessReplica(tmp_path / "replica", primary.http) as replica:
        replica.follower.follow_once(0)
        copy = replica.galleries.get("objects").run(lambda each: each.store.folder)
        rows = replica.galleries.get("objects").run(lambda each: each.store.page("", 100))
        photos = [row.photo for row in rows if row.photo is not None]
        assert [photo for photo in photos if not (copy / photo_member(photo)).exists()] == []
        replica.follow()
        assert contents(primary.data) == contents(replica.data)


@pytest.mark.drill
@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", ["describing", "catching up", "held", "switched"])
def test_a_replica_that_is_promoted_in_any_phase_has_a_whole_gallery_and_goes_on(
    tmp_path: Path, teacher: Encoder, teacher_file: Path, second_file: Path, phase: Phase
) -> None:
    chosen = sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:40]
    data, copy = tmp_path / "primary", tmp_path / "copy"
    write_gallery(data, "objects", teacher_file, described(teacher, chosen), aliases=["live"])
    before = {path.stem for path in chosen}
    with RunningServer(data, "--gallery", "live") as primary, serve_replica(copy, primary.url) as replica:
        writers = AliasWriters(primary.url, chosen[5].read_bytes(), [])
        command = start_askew(*change_command(primary.url, second_file))
        try:
            wait_until(lambda: is_reached(phase, primary.http, writers), phase)
            primary.kill()
        finally:
            writers.give_up()
            command.kill()
            command.communicate(timeout=60)
        promoted = replica.http.post("/v1/replication/promote", json={"accept_loss": True}, timeout=120)
        assert promoted.status_code == 200, promoted.text
        assert status_of(replica)["role"] == "primary"
        named = replica.http.get("/v1/aliases").json()["aliases"]
        ids = {each["id"] for each in replica.http.get("/v1/galleries/live/items?limit=1000").json()["items"]}
        assert named in ({"live": "objects"}, {"live": "fresh"})
        assert before <= ids
        again = run_askew(*change_command(replica.url, second_file), timeout=LONG)
        assert again.returncode == 0, again.stderr
        assert replica.http.get("/v1/aliases").json()["aliases"] == {"live": "fresh"}
        after = {each["id"] for each in replica.http.get("/v1/galleries/live/items?limit=1000").json()["items"]}
        assert before <= after
