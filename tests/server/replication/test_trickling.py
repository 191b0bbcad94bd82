"""A primary that sends a byte now and then, and never the end of an answer, holds nobody."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from typing import get_args

import httpx
import pytest

from askew_server.replication.record import Fence
from askew_server.replication.source import Address, PrimaryUnreachable, Source
from askew_server.storage.items import StoredItem
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.replicas import serve_replica, status_of
from tests.support.running_server import RunningServer
from tests.support.trickling_proxy import TricklingProxy, Way
from tests.support.waiting import in_thread, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BOUND = 1.0


@pytest.mark.parametrize("way", get_args(Way))
def test_a_call_ends_in_time_whatever_trickles(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SECONDS", "_SECONDS_FOR_ANSWER"):
        monkeypatch.setattr(f"askew_server.replication.source.{name}", BOUND)
    with TricklingProxy(0) as proxy, closing(Source(Address(proxy.url))) as source:
        proxy.trickle(way)
        for call in (
            lambda: source.state("", 0),
            lambda: source.fence(Fence(number=2, token="later")),
        ):
            began = time.monotonic()
            with pytest.raises(PrimaryUnreachable, match="did not end in time"):
                in_thread(call).result(30)
            assert time.monotonic() - began < 3 * BOUND + 1


def test_calls_that_are_given_up_leave_no_thread_and_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A primary that trickles for a day must not take all threads of its replica, nor all places of the pool."""
    for name in ("_SECONDS", "_SECONDS_FOR_ANSWER"):
        monkeypatch.setattr(f"askew_server.replication.source.{name}", BOUND / 2)
    with TricklingProxy(0) as proxy, closing(Source(Address(proxy.url))) as source:
        for way in get_args(Way):
            proxy.trickle(way)
            with pytest.raises(PrimaryUnreachable):
                source.state("", 0)
            wait_until(lambda: _calls() == 0, f"the thread of a call to end ({way})")
            wait_until(lambda: proxy.held() == 0, f"its connection to end ({way})")


def _calls() -> int:
    return sum(each.name == "follow-call" for each in threading.enumerate())


def test_a_call_that_nobody_waits_for_any_more_ends_at_once() -> None:
    with TricklingProxy(0) as proxy, closing(Source(Address(proxy.url))) as source:
        proxy.trickle("headers")
        asked = in_thread(lambda: source.state("", 1))
        time.sleep(0.5)
        source.stop()
        with pytest.raises(PrimaryUnreachable, match="stopped"):
            asked.result(5)
        source.go_on()
        with source.within(0.5), pytest.raises(PrimaryUnreachable, match="in time"):
            in_thread(lambda: source.state("", 1)).result(10)


def test_a_replica_is_promoted_over_a_primary_that_trickles(tmp_path: Path, teacher_file: Path) -> None:
    write_gallery(tmp_path / "primary", "objects", teacher_file, [StoredItem("one", unit_vector(1), {})])
    with RunningServer(tmp_path / "primary", "--gallery", "objects") as primary:
        port = httpx.URL(primary.url).port
        assert port is not None
        with TricklingProxy(port) as proxy, serve_replica(tmp_path / "replica", proxy.url) as replica:
            proxy.trickle("headers")
            # The follower's own thread is in such an answer by then.
            time.sleep(3)
            promoted = replica.http.post("/v1/replication/promote", json={"accept_loss": True}, timeout=120)
            assert promoted.status_code == 200, promoted.text
            assert promoted.json()["is_fenced"] is False
            assert status_of(replica)["role"] == "primary"
