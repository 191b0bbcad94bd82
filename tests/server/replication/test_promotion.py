"""What a promotion must not say: that nothing is lost, while the last changes of the old primary were not copied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from askew_client.contract.problems import ProblemKind
from askew_client.encoding.encoder import Encoder
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.replication.applying import fetch_photos
from askew_server.replication.record import replication_record
from askew_server.replication.service import Replication
from askew_server.replication.source import Address, Source
from askew_server.replication.wire import ItemLine
from askew_server.storage.items import StoredItem
from tests.support.free_ports import free_port
from tests.support.gallery_files import item_json, unit_vector, write_gallery
from tests.support.problem_shape import assert_problem
from tests.support.replicas import (
    PRIMARY,
    InProcessPrimary,
    InProcessReplica,
    serve_behind,
    serve_replica,
    status_of,
    wait_until_equal,
)
from tests.support.running_server import RunningServer, run_askew
from tests.support.waiting import wait_until

ITEMS = "/v1/galleries/objects/items"


@pytest.fixture
def source(tmp_path: Path, teacher_file: Path) -> Path:
    """DATA of a primary with ten items."""
    items = [StoredItem(f"item-{n}", unit_vector(n), {"n": n}) for n in range(10)]
    write_gallery(tmp_path / "primary", "objects", teacher_file, items)
    return tmp_path / "primary"


@pytest.fixture
def primary(source: Path) -> Iterator[InProcessPrimary]:
    with InProcessPrimary(source) as running:
        yield running


def put(primary: InProcessPrimary, teacher_file: Path, number: int) -> None:
    body = {"space": Encoder(teacher_file).space_id, "items": [item_json(f"item-{number}", number)]}
    assert primary.http.put(ITEMS, json=body).status_code == 200


@pytest.mark.slow
def test_last_changes_that_could_not_be_copied_are_not_lost_silently(
    tmp_path: Path, primary: InProcessPrimary, teacher_file: Path
) -> None:
    """The old primary acknowledged them, made way, and was gone before they were copied."""
    with InProcessReplica(tmp_path / "replica", primary.http) as replica:
        replica.follow()
        put(primary, teacher_file, 10)
        service = Replication(replica.data, replica.galleries, replica.keys, follow=PRIMARY)
        with closing(service):
            service.standing = replica.standing
            service._follower = replica.follower
            # The notice arrives; whatever is asked afterwards does not.
            replica.transport.cuts = [None, *[0.0] * 50]
            with pytest.raises(Refusal, match=r"last changes.*--accept-loss") as refused:
                service.promote(accept_loss=False, address=None)
            assert refused.value.kind is ProblemKind.REPLICA_BEHIND
            assert replica.standing.role == "replica"
            assert primary.standing.role == "superseded"
            service._follower.pause()
            # Once the old primary answers again, the same call goes on, and nothing is lost.
            replica.transport.cuts = []
            promotion = service.promote(accept_loss=False, address=None)
        assert promotion.is_fenced
        assert {item.id for item in replica.galleries.get("objects").run(lambda each: each.store.page("", 100))} >= {
            "item-10"
        }


@pytest.mark.slow
def test_a_server_that_follows_another_primary_by_now_does_not_make_way(data: Path, tmp_path: Path) -> None:
    """It has nothing to make way for, and what it acknowledged since is with the primary that it follows."""
    first, second = tmp_path / "first", tmp_path / "second"
    with RunningServer(data, "--gallery", "objects") as old:
        port = old.url.rpartition(":")[2]
        with serve_replica(first, old.url), serve_replica(second, old.url):
            wait_until_equal(data, first)
            wait_until_equal(data, second)
        address = old.url
    assert run_askew("replica", "promote", first, "--accept-loss").returncode == 0
    with (
        RunningServer(first, "--gallery", "objects") as new,
        serve_behind(second, address) as left,
        serve_replica(data, new.url, "--port", port) as old,
    ):
        wait_until(lambda: status_of(old).get("staleness_seconds") is not None, "the old primary to follow")
        refused = left.http.post("/v1/replication/promote", json={})
        assert_problem(refused, 409, "replica-refused", "does not make way", new.url)
        assert status_of(left)["role"] == "replica"


@pytest.mark.slow
def test_a_copy_that_is_damaged_keeps_no_other_from_being_promoted(
    data: Path, teacher_file: Path, tmp_path: Path
) -> None:
    """Without --accept-loss it is named; with it, the other galleries are served. So by a server, and without one."""
    write_gallery(data, "other", teacher_file, [StoredItem("item-1", unit_vector(1), {})])
    copy = tmp_path / "copy"
    with RunningServer(data, "--gallery", "objects") as old, serve_replica(copy, old.url) as replica:
        wait_until_equal(data, copy)
        old.kill()
        for file in ("gallery.db", "gallery.db-wal"):
            path = copy / "galleries" / "objects" / file
            path.write_bytes(b"\xff" * path.stat().st_size)
        shown = run_askew("replica", "status", "--server", replica.url)
        assert shown.returncode == 0 and "'objects' cannot be read here" in shown.stdout, shown.stderr
        refused = run_askew("replica", "promote", replica.url)
        assert refused.returncode == 1 and "'objects' cannot be read here" in refused.stderr, refused.stderr
        shutil.copytree(copy, tmp_path / "stopped")
        done = run_askew("replica", "promote", replica.url, "--accept-loss")
        assert done.returncode == 0, done.stderr
    done = run_askew("replica", "promote", tmp_path / "stopped", "--accept-loss")
    assert done.returncode == 0 and "'objects' cannot be read here" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_server_that_becomes_the_primary_again_runs_its_jobs(data: Path, tmp_path: Path) -> None:
    """It was told, as a replica, who its primary is."""
    copy = tmp_path / "copy"
    with RunningServer(data, "--gallery", "objects") as first, serve_replica(copy, first.url) as second:
        wait_until_equal(data, copy)
        port = first.url.rpartition(":")[2]
        first.kill()
        done = run_askew("replica", "promote", second.url, "--accept-loss")
        assert done.returncode == 0, done.stderr
        with serve_replica(data, second.url, "--port", port) as again:
            wait_until(lambda: _unfenced(copy) is None, "the notice to arrive")
            done = run_askew("replica", "promote", again.url)
            assert done.returncode == 0, done.stderr
            job = again.http.post("/v1/galleries/objects/snapshots", json={}).json()
            wait_until(lambda: again.http.get(f"/v1/jobs/{job['id']}").json()["state"] == "done", "the job")


@pytest.mark.slow
def test_a_key_that_is_gone_keeps_nobody_from_taking_the_place_of_a_dead_primary(data: Path, tmp_path: Path) -> None:
    copy, key_file = tmp_path / "copy", tmp_path / "primary.key"
    admin = run_askew("key", "create", "admin", "--scope", "admin", "--data", data).stdout.strip()
    key_file.write_text(admin)
    with (
        RunningServer(data, "--gallery", "objects") as first,
        serve_replica(copy, first.url, "--follow-key-file", str(key_file)) as second,
    ):
        wait_until_equal(data, copy)
        first.kill()
        key_file.unlink()
        refused = run_askew("replica", "promote", second.url, "--key", admin)
        assert refused.returncode == 1 and "cannot be asked to make way" in refused.stderr, refused.stderr
        assert str(key_file) in refused.stderr and "--accept-loss" in refused.stderr
        done = run_askew("replica", "promote", second.url, "--key", admin, "--accept-loss")
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_server_whose_place_was_taken_twice_follows_from_its_first_moment(data: Path, tmp_path: Path) -> None:
    """It was promoted over the server that it is told to follow, but that one was promoted over it since."""
    second = tmp_path / "second"
    first_port, second_port = (("--port", str(free_port())) for _ in range(2))
    at_first, at_second = (f"http://127.0.0.1:{port}" for _, port in (first_port, second_port))
    with RunningServer(data, "--gallery", "objects", *first_port), serve_replica(second, at_first, *second_port) as new:
        wait_until_equal(data, second)
        assert new.http.post("/v1/replication/promote", json={}).status_code == 200
    with (
        RunningServer(second, "--gallery", "objects", *second_port),
        serve_replica(data, at_second, *first_port) as back,
    ):
        wait_until_equal(data, second)
        assert back.http.post("/v1/replication/promote", json={}).status_code == 200
    # As long as nobody took its place, a --follow that was left in changes nothing.
    with (
        RunningServer(data, "--gallery", "objects", "--follow", at_second, *first_port) as again,
        serve_replica(second, at_first, *second_port) as new,
    ):
        assert status_of(again)["role"] == "primary"
        wait_until_equal(data, second)
        again.kill()
        assert new.http.post("/v1/replication/promote", json={"accept_loss": True}).status_code == 200
        with serve_replica(data, at_second, *first_port) as old:
            assert status_of(old)["role"] == "replica"
            assert status_of(old)["epoch"] == 4
            wait_until_equal(second, data)


@pytest.mark.slow
def test_a_copy_of_many_photos_stops_at_once(tmp_path: Path) -> None:
    """A promotion waits for it: a page may have thousands of photos, and each is a request."""
    stopped: list[bool] = []

    class Slow(Source):
        def photo(self, name: str, kind: str, file: str) -> bytes | None:
            stopped.append(True)
            return None

    (tmp_path / "photos").mkdir()
    rows = [ItemLine(n, f"item-{n}", "{}", f"{n:064x}.jpg", 0, b"", 0) for n in range(9)]
    with pytest.raises(AskewError, match="stops"):
        fetch_photos(tmp_path, Slow(Address(PRIMARY)), "objects", rows, lambda: len(stopped) == 3)
    assert len(stopped) == 3


def _unfenced(data: Path) -> str | None:
    record = replication_record(data).read()
    assert record is not None
    return record.unfenced
