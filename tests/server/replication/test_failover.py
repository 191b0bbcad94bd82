"""Real servers: a primary is killed while clients write, its replica takes its place, and the old one makes way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from pathlib import Path

import httpx
import pytest

from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from tests.support.gallery_files import item_json, unit_vector
from tests.support.problem_shape import assert_problem
from tests.support.replicas import contents, serve_behind, serve_replica, status_of, wait_until_equal
from tests.support.running_server import RunningServer, run_askew
from tests.support.waiting import wait_until

ITEMS = "/v1/galleries/objects/items"


def body(teacher: Encoder, *items: dict[str, object]) -> dict[str, object]:
    return {"space": teacher.space_id, "items": list(items)}


def hits(server: RunningServer, teacher: Encoder, seed: int) -> object:
    query = {"vector": pack_base64(unit_vector(seed)), "dtype": "f16le", "space": teacher.space_id, "limit": 5}
    return server.http.post("/search", json=query).json()["hits"]


def _troubles(server: RunningServer) -> list[str]:
    answer = server.http.get("/v1/replication")
    galleries = answer.json()["galleries"] if answer.status_code == 200 else []
    return [each["trouble"] for each in galleries if "trouble" in each]


@pytest.mark.slow
def test_a_replica_takes_the_place_of_a_primary_that_is_killed(data: Path, teacher: Encoder, tmp_path: Path) -> None:
    """What the old one alone acknowledged is named when it comes back, kept, and never merged."""
    copy = tmp_path / "copy"
    acknowledged: list[str] = []
    with RunningServer(data, "--gallery", "objects") as primary, serve_replica(copy, primary.url) as replica:

        def write() -> None:
            with httpx.Client(base_url=primary.url, timeout=60) as http:
                for seed in range(100_000):
                    try:
                        answer = http.put(ITEMS, json=body(teacher, item_json(f"new-{seed}", seed)))
                    except httpx.TransportError:
                        return
                    assert (answer.status_code, answer.headers["askew-epoch"]) == (200, "1"), answer.text
                    acknowledged.append(f"new-{seed}")

        writer = threading.Thread(target=write)
        writer.start()
        wait_until(lambda: any(row[1] == "new-5" for row in contents(copy)["objects"]["items"]), "5 copied writes")
        # From here on the primary acknowledges what the replica does not see.
        os.kill(replica.process.pid, signal.SIGSTOP)
        known = len(acknowledged)
        wait_until(lambda: len(acknowledged) > known + 5, "5 further writes")
        primary.kill()
        writer.join()
        os.kill(replica.process.pid, signal.SIGCONT)

        refused = replica.http.put(ITEMS, json=body(teacher, item_json("refused", 1)))
        assert assert_problem(refused, 409, "read-replica", primary.url)["primary"] == primary.url
        done = run_askew("replica", "promote", replica.url, "--accept-loss")
        assert done.returncode == 0, done.stderr
        assert "is the primary since epoch 2" in done.stdout
        assert f"{primary.url} does not answer" in done.stderr
        written = replica.http.put(ITEMS, json=body(teacher, item_json("after", 500_000)))
        assert (written.status_code, written.headers["askew-epoch"]) == (200, "2"), written.text
        copied = {row[1] for row in contents(copy)["objects"]["items"] if str(row[1]).startswith("new-")}
        assert copied == set(acknowledged[: len(copied)])
        assert 5 < len(copied) < len(acknowledged)
        sequence = f"{max(row[0] for row in contents(copy)['objects']['items'] if row[1] != 'after'):,}"

        # The old primary returns, at its own address and as it was started before.
        port = primary.url.rpartition(":")[2]
        with RunningServer(data, "--gallery", "objects", "--port", port) as returned:
            wait_until(lambda: status_of(returned)["role"] == "superseded", "the old primary to be told")
            late = returned.http.put(ITEMS, json=body(teacher, item_json("late", 600_000)))
            assert assert_problem(late, 409, "superseded", "epoch 2")["epoch"] == 2
            assert hits(returned, teacher, 0)
        with RunningServer(data, "--gallery", "objects") as again:
            assert_problem(again.http.delete(f"{ITEMS}/new-0"), 409, "superseded", "epoch 2")

        with serve_behind(data, replica.url) as behind:
            wait_until(lambda: _troubles(behind) != [], "the old primary to say how it differs")
            assert f"changes, after change {sequence}, that the primary never had" in _troubles(behind)[0]
            assert "'new-" in _troubles(behind)[0]
            assert_problem(behind.http.get("/readyz"), 503, "not-ready", "has not copied everything")
        assert {"new-0", acknowledged[-1]} <= {row[1] for row in contents(data)["objects"]["items"]}
        discarded = run_askew("replica", "discard", "objects", "--data", data)
        assert discarded.returncode == 0, discarded.stderr
        with serve_replica(data, replica.url) as follower:
            wait_until_equal(copy, data)
            assert hits(follower, teacher, 3) == hits(replica, teacher, 3)
        aside = Path(re.search(r"is in (\S+) now", discarded.stdout)[1])  # type: ignore[index]
        shutil.copytree(aside, tmp_path / "kept" / "galleries" / "objects")
        assert acknowledged[-1] in {row[1] for row in contents(tmp_path / "kept")["objects"]["items"]}


@pytest.mark.drill
def test_the_places_are_exchanged_without_losing_anything(data: Path, teacher: Encoder, tmp_path: Path) -> None:
    """With keys: the primary's are the replica's, also a new one, and one that was revoked no more."""
    copy, key_file = tmp_path / "copy", tmp_path / "primary.key"
    admin = run_askew("key", "create", "admin", "--scope", "admin", "--data", data).stdout.strip()
    key_file.write_text(admin)
    follow = ("--follow-key-file", str(key_file))
    headers = {"Authorization": f"Bearer {admin}"}
    with RunningServer(data, "--gallery", "objects") as first, serve_replica(copy, first.url, *follow) as second:
        for server in (first, second):
            assert server.http.get("/v1/replication").status_code == 401
            server.http.headers.update(headers)
        assert first.http.put(ITEMS, json=body(teacher, item_json("one", 1))).status_code == 200
        wait_until_equal(data, copy)
        assert_problem(second.http.put("/v1/aliases/live", json={"gallery": "objects"}), 409, "read-replica")
        assert first.http.put("/v1/aliases/live", json={"gallery": "objects"}).status_code == 200
        assert first.http.put(ITEMS, json=body(teacher, item_json("two", 2))).status_code == 200
        done = run_askew("replica", "promote", second.url, "--key", admin)
        assert done.returncode == 0, done.stderr
        assert "takes no more changes, and everything that it acknowledged is here" in done.stdout
        refused = first.http.put(ITEMS, json=body(teacher, item_json("three", 3)))
        assert assert_problem(refused, 409, "superseded")["primary"] == second.url
        assert second.http.get("/v1/aliases").json() == {"aliases": {"live": "objects"}}
        wait_until_equal(data, copy)
        assert hits(first, teacher, 2) == hits(second, teacher, 2)
        assert second.http.put(ITEMS, json=body(teacher, item_json("three", 3))).status_code == 200
        again = run_askew("replica", "promote", second.url, "--key", admin)
        assert again.returncode != 0 and "a primary already" in again.stderr
        first.stop()
        with serve_replica(data, second.url, *follow) as third:
            third.http.headers.update(headers)
            wait_until_equal(copy, data)
            assert status_of(third)["epoch"] == 2
            assert 'askew_role{role="replica"} 1.0' in third.http.get("/metrics").text


@pytest.mark.drill
def test_a_server_is_told_at_its_start_what_its_data_is(tmp_path: Path, data: Path) -> None:
    missing = run_askew(
        "serve", "--data", data, "--follow", "http://127.0.0.1:9", "--follow-key-file", tmp_path / "none"
    )
    assert missing.returncode != 0
    assert "Expected an admin key of the primary in" in missing.stderr and "Traceback" not in missing.stderr
    wrong = run_askew("serve", "--data", data, "--follow", "primary:8080")
    assert wrong.returncode != 0 and "Expected the primary's address" in wrong.stderr
    with RunningServer(data, "--gallery", "objects") as primary:
        copy = tmp_path / "copy"
        serve_replica(copy, primary.url).stop()
        alone = run_askew("serve", "--data", copy)
        assert alone.returncode != 0 and f"is a replica of {primary.url}" in alone.stderr
        refused = run_askew("replica", "promote", copy)
        assert refused.returncode != 0 and "--accept-loss" in refused.stderr
        promoted = run_askew("replica", "promote", copy, "--accept-loss")
        assert promoted.returncode == 0, promoted.stderr
        # It was promoted over this very address, so that --follow, which a unit file may still have, is ignored.
        with serve_replica(copy, primary.url) as second:
            assert status_of(second)["role"] == "primary"
            wait_until(lambda: status_of(primary)["role"] == "superseded", "the old primary to be told")
