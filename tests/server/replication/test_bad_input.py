"""What a replica does not follow, and what it keeps: each case is named in a sentence, and nothing is merged or lost."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from askew_client.contract.keys import CreateKeyRequest
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.http.app import create_app
from askew_server.http.state import AppState
from askew_server.replication.follower import CannotFollow
from askew_server.replication.source import PrimaryRefused
from askew_server.replication.wire import FORMAT, askew_version
from askew_server.settings import Settings
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.gallery_files import item_json, unit_vector, write_gallery
from tests.support.problem_shape import assert_problem
from tests.support.replicas import InProcessPrimary, InProcessReplica, contents
from tests.support.small_encoders import make_encoder
from tests.support.waiting import in_thread, wait_until

pytestmark = pytest.mark.slow

ITEMS = "/v1/galleries/objects/items"


def items(first: int, count: int) -> list[StoredItem]:
    return [StoredItem(f"item-{n}", unit_vector(n), {"n": n}) for n in range(first, first + count)]


@pytest.fixture
def source(tmp_path: Path, teacher_file: Path) -> Path:
    """DATA of a primary with ten items."""
    write_gallery(tmp_path / "primary", "objects", teacher_file, items(0, 10))
    return tmp_path / "primary"


@pytest.fixture
def primary(source: Path) -> Iterator[InProcessPrimary]:
    with InProcessPrimary(source) as running:
        yield running


@pytest.fixture
def replica(tmp_path: Path, primary: InProcessPrimary) -> Iterator[InProcessReplica]:
    with InProcessReplica(tmp_path / "replica", primary.http) as made:
        yield made


def put(primary: InProcessPrimary, teacher_file: Path, *numbers: int) -> None:
    body = {"space": Encoder(teacher_file).space_id, "items": [item_json(f"item-{n}", n) for n in numbers]}
    assert primary.http.put(ITEMS, json=body).status_code == 200


def test_another_version_and_a_server_that_is_no_askew_are_refused(primary: InProcessPrimary) -> None:
    answer = primary.http.get("/v1/replication/state", params={"version": "0.0.1", "format": 1})
    assert_problem(answer, 409, "replica-refused", "the replica 0.0.1")
    answer = primary.http.get("/v1/replication/state", params={"version": askew_version(), "format": 99})
    assert_problem(answer, 409, "replica-refused", "feed 99")


def test_a_feed_request_with_a_later_epoch_fences_the_primary(primary: InProcessPrimary, teacher_file: Path) -> None:
    asked: dict[str, str | int] = {
        "version": askew_version(),
        "format": FORMAT,
        "lineage": "another",
        "epoch": 4,
        "token": "later",
    }
    assert_problem(primary.http.get("/v1/replication/state", params=asked), 409, "replica-refused", "another history")
    fence = primary.http.post("/v1/replication/fence", params=asked, json={"number": 4, "token": "later"})
    assert_problem(fence, 409, "replica-refused", "another history")
    assert primary.standing.role == "primary"
    asked["lineage"] = primary.standing.record().lineage
    assert_problem(primary.http.get("/v1/replication/state", params=asked), 409, "superseded", "epoch 4")
    body = {"space": Encoder(teacher_file).space_id, "items": [item_json("one", 1)]}
    assert_problem(primary.http.put(ITEMS, json=body), 409, "superseded", "epoch 4")
    assert primary.http.get(f"{ITEMS}/item-3").status_code == 200


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("state", {"wait": "nan"}),
        ("state", {"epoch": str(10**30), "token": "x"}),
        ("galleries/objects/changes", {"after": str(1 << 63), "removed_after": "0"}),
        ("galleries/objects/changes", {"after": "0", "removed_after": str(10**30)}),
        ("galleries/objects/summary", {"through": str(1 << 63)}),
    ],
)
def test_numbers_that_no_change_has_are_refused(primary: InProcessPrimary, path: str, asked: dict[str, str]) -> None:
    named = {"version": askew_version(), "format": str(FORMAT), "key": "objects@unknown", **asked}
    assert_problem(primary.http.get(f"/v1/replication/{path}", params=named), 422, "validation")


def test_a_server_that_hears_of_its_successor_from_a_replica_ends_its_jobs(primary: InProcessPrimary) -> None:
    """As one that is told so: what a job writes afterwards, no other server would have."""
    asked = {"version": askew_version(), "format": str(FORMAT), "epoch": "4", "token": "later"}
    threads = {each.name for each in threading.enumerate()}
    assert any(name.startswith("jobs-") for name in threads)
    assert_problem(primary.http.get("/v1/replication/state", params=asked), 409, "superseded")
    assert not any(each.name.startswith("jobs-") for each in threading.enumerate())


def test_a_data_with_other_galleries_is_not_emptied(
    tmp_path: Path, primary: InProcessPrimary, teacher_file: Path
) -> None:
    write_gallery(tmp_path / "own", "mine", teacher_file, items(0, 3))
    with InProcessReplica(tmp_path / "own", primary.http) as own:
        with pytest.raises(CannotFollow, match=r"does not have: mine\. A replica would remove them"):
            own.follower.follow_once(0)
        assert own.galleries.names() == ["mine"]


def test_a_replica_follows_no_other_history(tmp_path: Path, replica: InProcessReplica, teacher_file: Path) -> None:
    replica.follow()
    write_gallery(tmp_path / "new", "objects", teacher_file, items(0, 3))
    with InProcessPrimary(tmp_path / "new") as another:
        replica.transport.serve(another.http)
        with pytest.raises(PrimaryRefused, match="another history"):
            replica.follower.follow_once(0)
    assert len(contents(replica.data)["objects"]["items"]) == 10


def test_a_copy_that_was_restored_from_a_snapshot_takes_only_the_difference(
    tmp_path: Path, source: Path, teacher_file: Path
) -> None:
    shutil.copytree(source / "galleries" / "objects", tmp_path / "replica" / "galleries" / "objects")
    with InProcessPrimary(source) as primary, InProcessReplica(tmp_path / "replica", primary.http) as replica:
        put(primary, teacher_file, 3, 20)
        replica.follow()
        assert contents(replica.data) == contents(source)
        assert replica.galleries.get("objects").written_and_deleted[0] == 2


def test_a_primary_that_was_put_back_from_an_older_copy_is_noticed(
    tmp_path: Path, source: Path, teacher_file: Path
) -> None:
    shutil.copytree(source, tmp_path / "older")
    with InProcessPrimary(source) as primary, InProcessReplica(tmp_path / "replica", primary.http) as replica:
        replica.follow()
        # From here on both copies of DATA have the same history.
        for record in ("record", "galleries/.record"):
            shutil.copytree(source / record, tmp_path / "older" / record, dirs_exist_ok=True)
        put(primary, teacher_file, 20, 21, 22)
        replica.follow()
        with InProcessPrimary(tmp_path / "older") as older:
            replica.transport.serve(older.http)
            assert not replica.follower.follow_once(0)
            assert "has 3 changes, after change 10" in replica.follower.progress.troubles["objects"]
            assert "'item-20'" in replica.follower.progress.troubles["objects"]
            # Written to since, the numbers alone would not tell.
            put(older, teacher_file, 30, 31, 32, 33)
            replica.restart()
            assert not replica.follower.follow_once(0)
        assert replica.follower.progress.troubles
        assert {"item-20", "item-21"} <= {row[1] for row in contents(replica.data)["objects"]["items"]}


def test_two_changes_under_one_number_are_noticed(tmp_path: Path, source: Path, teacher_file: Path) -> None:
    shutil.copytree(source, tmp_path / "older")
    with InProcessPrimary(source) as primary, InProcessReplica(tmp_path / "replica", primary.http) as replica:
        replica.follow()
        for record in ("record", "galleries/.record"):
            shutil.copytree(source / record, tmp_path / "older" / record, dirs_exist_ok=True)
        put(primary, teacher_file, 20, 21, 22)
        replica.follow()
        with InProcessPrimary(tmp_path / "older") as older:
            put(older, teacher_file, 30, 31, 32, 33)
            replica.restart()
            replica.transport.serve(older.http)
            assert not replica.follower.follow_once(0)
            assert "different items under change 11" in replica.follower.progress.troubles["objects"]
            replica.restart()
            assert not replica.follower.follow_once(0)
            assert "different items under change 11" in replica.follower.progress.troubles["objects"]


def test_a_damaged_item_is_not_copied_and_stops_no_other_gallery(
    source: Path, tmp_path: Path, teacher_file: Path
) -> None:
    write_gallery(source, "zebra", teacher_file, items(0, 2))
    with InProcessPrimary(source) as primary, InProcessReplica(tmp_path / "replica", primary.http) as replica:
        with closing(sqlite3.connect(source / "galleries" / "objects" / "gallery.db")) as database, database:
            database.execute("UPDATE items SET payload = '{}' WHERE label = 4")
        assert not replica.follower.follow_once(0)
        assert "'item-3' (label 4) is damaged on the primary's disk" in replica.follower.progress.troubles["objects"]
        assert len(contents(replica.data)["zebra"]["items"]) == 2


def test_a_copy_that_lost_items_is_made_again(primary: InProcessPrimary, replica: InProcessReplica) -> None:
    replica.follow()
    replica.close()
    with closing(sqlite3.connect(replica.data / "galleries" / "objects" / "gallery.db")) as database, database:
        database.execute("DELETE FROM items WHERE label = 4")
        database.execute("DELETE FROM vectors WHERE label = 4")
    replica.open()
    replica.follow()
    assert contents(replica.data) == contents(primary.data)


def test_items_that_the_primary_lost_are_kept(source: Path, tmp_path: Path, teacher_file: Path) -> None:
    """One change explains one item that is gone, not three."""
    with ExitStack() as stack:
        with InProcessPrimary(source) as primary:
            replica = stack.enter_context(InProcessReplica(tmp_path / "replica", primary.http))
            replica.follow()
        with closing(sqlite3.connect(source / "galleries" / "objects" / "gallery.db")) as database, database:
            database.execute("DELETE FROM items WHERE label IN (4, 5, 6)")
            database.execute("DELETE FROM vectors WHERE label IN (4, 5, 6)")
        with InProcessPrimary(source) as repaired:
            put(repaired, teacher_file, 30)
            replica.transport.serve(repaired.http)
            assert not replica.follower.follow_once(0)
    trouble = replica.follower.progress.troubles["objects"]
    assert "has 3 items that the primary has no more" in trouble and "'item-3', 'item-4', 'item-5'" in trouble
    assert {"item-3", "item-4", "item-5"} <= {row[1] for row in contents(tmp_path / "replica")["objects"]["items"]}


def test_what_the_primary_cannot_read_stays_on_the_replica(
    primary: InProcessPrimary, replica: InProcessReplica
) -> None:
    replica.follow()
    primary.galleries.set_aside("objects", "Its disk is damaged, for this test.")
    assert not replica.follower.follow_once(0)
    assert "cannot be read on the primary" in replica.follower.progress.troubles["objects"]
    assert len(contents(replica.data)["objects"]["items"]) == 10


def test_keys_come_along_and_revoked_ones_stay_revoked(primary: InProcessPrimary, replica: InProcessReplica) -> None:
    admin = primary.keys.create(CreateKeyRequest(name="admin", scopes=["admin"]))
    primary.http.headers["Authorization"] = replica.transport.authorization = f"Bearer {admin.key}"
    phone = primary.http.post("/v1/keys", json={"name": "phone", "scopes": ["search"]}).json()
    own = replica.keys.create(CreateKeyRequest(name="own", scopes=["admin"]))
    replica.follow()
    assert {each.id for each in replica.keys.describe_all()} == {admin.id, phone["id"], own.id}
    assert replica.keys.find(phone["key"]) is not None
    primary.http.delete(f"/v1/keys/{phone['id']}")
    replica.follow()
    assert replica.keys.find(phone["key"]) is None
    replica.restart()
    assert replica.keys.find(phone["key"]) is None and replica.keys.find(own.key) is not None


def test_a_replica_of_a_primary_with_keys_serves_nobody_before_it_has_them(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ask_anything")
    settings = Settings(data=tmp_path / "new", follow="http://127.0.0.1:9", follow_key_file=tmp_path / "key")
    with TestClient(create_app(AppState(settings, Catalog(settings.data, owner="a test")))) as client:
        assert_problem(client.get("/v1/galleries"), 401, "unauthorised")
        wait_until(lambda: "has not copied" in client.get("/readyz").text, "the replica to be loaded")


def test_no_change_is_acknowledged_once_the_server_was_superseded(
    primary: InProcessPrimary, teacher_file: Path
) -> None:
    """A change that is under way then is refused; the notice is answered when none is under way any more."""
    held, begun = threading.Event(), threading.Event()

    def hold(_: Gallery) -> None:
        begun.set()
        held.wait(60)

    in_thread(lambda: primary.galleries.get("objects").run(hold))
    begun.wait(60)
    body = {"space": Encoder(teacher_file).space_id, "items": [item_json("late", 1)]}
    writing = in_thread(lambda: primary.http.put(ITEMS, json=body))
    wait_until(lambda: primary.writes.count == 1, "the change to be under way")
    path = f"/v1/replication/fence?lineage={primary.standing.record().lineage}"
    fencing = in_thread(lambda: primary.http.post(path, json={"number": 2, "token": "new"}))
    wait_until(lambda: primary.standing.role == "superseded", "the server to be superseded")
    assert not fencing.done()
    held.set()
    assert_problem(writing.result(60), 409, "superseded", "epoch 2")
    assert fencing.result(60).status_code == 204


def test_a_teacher_change_by_an_alias_reaches_the_replica_as_one(
    tmp_path: Path, primary: InProcessPrimary, replica: InProcessReplica
) -> None:
    """The alias is switched when the new gallery has been filled, and the old one goes after that."""
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=7)
    primary.galleries.set_alias("live", "objects")
    replica.follow()
    created, _ = primary.galleries.get_or_create("next", Encoder(other).manifest)
    created.run(lambda each: each.upsert(ItemBatch.of(items(0, 10))))
    primary.galleries.set_alias("live", "next")
    primary.galleries.delete("objects")
    replica.transport.cuts = [None, None, 0.5]
    assert not replica.follower.follow_once(0)
    assert "cut off or damaged" in replica.follower.progress.troubles["next"]
    assert replica.galleries.resolve("live") == "objects"
    replica.follow()
    assert replica.galleries.resolve("live") == "next" and replica.galleries.names() == ["next"]
