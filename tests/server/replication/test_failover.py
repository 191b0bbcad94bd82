"""Two real servers: one is killed while clients write, the other one takes its place, and the old one makes way."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from askew_client.encoding.encoder import Encoder
from tests.support.gallery_files import item_json, unit_vector
from tests.support.problem_shape import assert_problem
from tests.support.replicas import contents, serve_replica, status_of, wait_until_equal
from tests.support.running_server import RunningServer, run_askew
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ITEMS = "/v1/galleries/objects/items"


def body(teacher: Encoder, *items: dict[str, object]) -> dict[str, object]:
    return {"space": teacher.space_id, "items": list(items)}


def test_a_replica_takes_the_place_of_a_primary_that_is_killed(data: Path, teacher: Encoder, tmp_path: Path) -> None:
    primary = RunningServer(data, "--gallery", "objects")
    copy = tmp_path / "copy"
    replica = serve_replica(copy, primary.url)
    acknowledged: list[str] = []

    def write() -> None:
        with httpx.Client(base_url=primary.url, timeout=60) as http:
            for seed in range(100_000):
                try:
                    answer = http.put(ITEMS, json=body(teacher, item_json(f"new-{seed}", seed)))
                except httpx.TransportError:
                    return
                assert answer.status_code == 200, answer.text
                assert answer.headers["askew-epoch"] == "1"
                acknowledged.append(f"new-{seed}")

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(acknowledged) >= 30, "30 writes")
    primary.kill()
    writer.join()

    refused = replica.http.put(ITEMS, json=body(teacher, item_json("refused", 1)))
    problem = assert_problem(refused, 409, "read-replica", primary.url)
    assert problem["primary"] == primary.url
    done = run_askew("replica", "promote", replica.url, "--accept-loss")
    assert done.returncode == 0, done.stderr
    assert "primary since epoch 2" in done.stdout
    assert "does not answer" in done.stderr
    written = replica.http.put(ITEMS, json=body(teacher, item_json("after", 500_000)))
    assert (written.status_code, written.headers["askew-epoch"]) == (200, "2"), written.text

    # What was copied is a beginning of what was acknowledged.
    copied = {row[1] for row in contents(copy)["objects"]["items"] if str(row[1]).startswith("new-")}
    assert copied == set(acknowledged[: len(copied)]) or copied == {*acknowledged, f"new-{len(acknowledged)}"}
    replica.stop()
    assert status_of_restarted(copy) == {"role": "primary", "epoch": 2}


def status_of_restarted(data: Path) -> dict[str, object]:
    with RunningServer(data, "--gallery", "objects") as server:
        found = status_of(server)
        return {"role": found["role"], "epoch": found["epoch"]}
