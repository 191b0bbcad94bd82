"""Offline packs over HTTP: allowed, made in the background, fetched in parts, refreshed, narrowed and withdrawn."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from askew_client import Client
from askew_client.contract.offline_pack import OfflinePackPolicy
from askew_client.encoding.encoder import Encoder
from askew_client.errors import NotFound
from askew_client.offline.pack import Pack
from askew_client.offline.sections import open_pack
from askew_client.offline.update import update_pack
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.jobs.offline_pack import OfflinePacks
from askew_server.jobs.queue import JobQueue
from askew_server.offline.store import OfflineStore
from tests.support.job_waiting import DEADLINE, result_of, wait_for_job
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew

PACK = "/v1/galleries/objects/offline-pack"
POLICY: dict[str, Any] = {"fields": ["kind"], "thumbnails": 96, "refresh_minutes": 60}


@pytest.fixture(scope="module")
def started(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests of this module."""
    copy = tmp_path_factory.mktemp("packed") / "data"
    shutil.copytree(indexed / "data", copy)
    with RunningServer(copy, "--gallery", "objects") as running:
        yield running


@pytest.fixture
def http(started: RunningServer) -> Iterator[httpx.Client]:
    """A client of a server whose gallery has no pack, and unfinished jobs of none."""
    yield started.http
    started.http.delete(PACK)
    for job in started.http.get("/v1/jobs").json()["jobs"]:
        wait_for_job(started.http, job["id"])


def _put(http: httpx.Client, teacher: Encoder, identity: str, seed: int = 1) -> None:
    vector = np.random.default_rng(seed).standard_normal(teacher.manifest.dim)
    vector /= np.linalg.norm(vector)
    item = {"id": identity, "vector": vector.tolist(), "payload": {"kind": "new"}}
    sent = http.put("/v1/galleries/objects/items", json={"space": teacher.space_id, "items": [item]})
    assert sent.status_code == 200, sent.text


@pytest.mark.slow
def test_a_pack_is_allowed_made_described_and_fetched(
    http: httpx.Client, started: RunningServer, teacher: Encoder, photo: Path, tmp_path: Path
) -> None:
    for path in (PACK, f"{PACK}/file"):
        problem = assert_problem(http.get(path), 404, "no-offline-pack", "askew gallery pack objects")
        assert problem["allowed"] is False
    assert_problem(http.post(PACK), 404, "no-offline-pack")
    assert_problem(http.delete(PACK), 404, "no-offline-pack")
    made = result_of(http, http.put(PACK, json=POLICY))
    assert (made["items"], made["thumbnails"], made["unreadable_photos"]) == (49, 49, 0)
    described = http.get(PACK).json()
    assert described["sha256"] == made["sha256"]
    assert described["etag"] == f'"{made["sha256"]}"'
    assert (described["fields"], described["thumbnails"], described["is_current"]) == (["kind"], 96, True)
    assert (described["sequence"], described["gallery_sequence"]) == (49, 49)
    assert described["policy"] == POLICY
    assert "building" not in described
    whole = http.get(f"{PACK}/file")
    assert whole.headers["content-type"] == "application/vnd.askew.pack"
    assert whole.headers["cache-control"] == "no-cache"
    assert whole.headers["etag"] == described["etag"]
    assert hashlib.sha256(whole.content).hexdigest() == made["sha256"]
    assert len(whole.content) == described["size"]
    with Client(started.url) as client:
        fetched = client.download_offline_pack(tmp_path / "objects.pack", gallery="objects")
        assert client.offline_pack("objects").items == 49
        with pytest.raises(NotFound, match="allows one"):
            client.withdraw_offline_pack(gallery="objects")
            client.offline_pack("objects")
    pack = Pack.open(fetched)
    vector = teacher.encode(photo)
    hits = pack.search(vector, 5)
    served = http.post("/search", json={"vector": vector.tolist(), "space": teacher.space_id, "limit": 5}).json()[
        "hits"
    ]
    assert [hit.id for hit in hits] == [hit["id"] for hit in served]
    assert [hit.score for hit in hits] == pytest.approx([hit["score"] for hit in served], abs=2e-3)
    assert hits[0].id == photo.stem
    assert hits[0].payload == {"kind": photo.stem.split("-")[0]}


@pytest.mark.slow
def test_ranges_and_conditions(http: httpx.Client) -> None:
    result_of(http, http.put(PACK, json=POLICY))
    whole = http.get(f"{PACK}/file")
    etag = whole.headers["etag"]
    head = http.head(f"{PACK}/file")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(whole.content)
    part = http.get(f"{PACK}/file", headers={"Range": "bytes=100-199", "If-Match": etag})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    beyond = http.get(f"{PACK}/file", headers={"Range": "bytes=0-65535000"})
    assert (beyond.status_code, beyond.content) == (206, whole.content)
    for tags in ("*", f'"x", {etag}'):
        assert http.get(f"{PACK}/file", headers={"If-Match": tags}).status_code == 200
    for tags in ('"x"', f"W/{etag}", ""):
        refused = http.get(f"{PACK}/file", headers={"If-Match": tags, "Range": "bytes=0-9"})
        assert_problem(refused, 412, "http", "another one by now")
    assert http.get(f"{PACK}/file", headers={"If-None-Match": etag}).status_code == 304
    old = http.get(f"{PACK}/file", headers={"Range": "bytes=0-9", "If-Range": '"old"'})
    assert (old.status_code, old.content) == (200, whole.content)
    last = http.get(f"{PACK}/file", headers={"Range": f"bytes={len(whole.content)}-"})
    assert_problem(last, 416, "http")


@pytest.mark.slow
def test_what_has_changed_reaches_the_next_pack_and_an_update_gives_its_bytes(
    http: httpx.Client, teacher: Encoder, photo: Path, tmp_path: Path
) -> None:
    result_of(http, http.put(PACK, json=POLICY))
    (tmp_path / "old.pack").write_bytes(http.get(f"{PACK}/file").content)
    _put(http, teacher, "new")
    http.delete("/v1/galleries/objects/items/new")
    _put(http, teacher, "newer")
    described = http.get(PACK).json()
    assert described["is_current"] is False
    assert described["gallery_sequence"] == described["sequence"] + 3
    # It is younger than an hour, so nobody but an administrator has it made.
    assert "building" not in described
    result_of(http, http.post(PACK))
    described = http.get(PACK).json()
    assert described["is_current"] is True

    def fetch(begin: int, end: int) -> bytes:
        headers = {"Range": f"bytes={begin}-{end - 1}", "If-Match": described["etag"]}
        answer = http.get(f"{PACK}/file", headers=headers)
        assert answer.status_code == 206, answer.text
        return answer.content

    old = open_pack(tmp_path / "old.pack")
    assert update_pack(old, fetch, "the new pack") == http.get(f"{PACK}/file").content
    http.delete("/v1/galleries/objects/items/newer")


@pytest.mark.slow
def test_a_stale_pack_is_made_again_by_one_of_many_devices_that_ask(
    started: RunningServer, http: httpx.Client, teacher: Encoder
) -> None:
    result_of(http, http.put(PACK, json={**POLICY, "refresh_minutes": 1}))
    record = started.data / "galleries/objects/offline/pack.json"
    made = json.loads(record.read_bytes())
    _put(http, teacher, "stale")
    made["header"]["created_at"] = "2020-01-01T00:00:00+00:00"
    record.write_text(json.dumps(made))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: httpx.get(f"{started.url}{PACK}", timeout=60).json(), range(16)))
    # One that asked late may find the new pack already.
    jobs = {answer.get("building") for answer in answers if not answer["is_current"]}
    assert len(jobs) == 1
    (job,) = jobs
    assert wait_for_job(http, str(job))["state"] == "done"
    assert http.get(PACK).json()["is_current"] is True
    # With refresh_minutes 0, asking makes nothing.
    result_of(http, http.put(PACK, json={**POLICY, "refresh_minutes": 0}))
    http.delete("/v1/galleries/objects/items/stale")
    described = http.get(PACK).json()
    assert described["is_current"] is False
    assert "building" not in described


@pytest.mark.slow
def test_fewer_fields_take_the_older_pack_out_of_service_at_once(http: httpx.Client) -> None:
    result_of(http, http.put(PACK, json={**POLICY, "fields": ["kind", "more"]}))
    etag = http.get(PACK).json()["etag"]
    submitted = http.put(PACK, json=POLICY)
    while (answer := http.get(f"{PACK}/file")).status_code != 200:
        problem = assert_problem(answer, 404, "no-offline-pack", "is not there yet")
        assert problem["allowed"] is True
        assert answer.json()["policy"]["fields"] == ["kind"]
        assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.02)
    assert answer.headers["etag"] != etag
    assert wait_for_job(http, submitted.json()["id"])["state"] == "done"
    # More fields: what there is contains nothing that may not leave, and is served meanwhile.
    widened = http.put(PACK, json={**POLICY, "fields": ["kind", "more"]})
    assert http.get(f"{PACK}/file").status_code == 200
    wait_for_job(http, widened.json()["id"])
    assert http.get(PACK).json()["fields"] == ["kind", "more"]


@pytest.mark.parametrize(
    ("policy", "pointer"),
    [
        ({}, "/fields"),
        ({"fields": ["a", "a"]}, "/fields"),
        ({"fields": [""]}, "/fields/0"),
        ({"fields": ["a\nb"]}, "/fields"),
        ({"fields": ["x" * 101]}, "/fields/0"),
        ({"fields": [str(n) for n in range(33)]}, "/fields"),
        ({"fields": "kind"}, "/fields"),
        ({"fields": [], "thumbnails": 8}, "/thumbnails"),
        ({"fields": [], "thumbnails": 1000}, "/thumbnails"),
        ({"fields": [], "bytes": 32}, "/bytes"),
        ({"fields": [], "bytes": 1025}, "/bytes"),
        ({"fields": [], "refresh_minutes": -1}, "/refresh_minutes"),
        ({"fields": [], "everything": True}, "/everything"),
    ],
)
def test_a_policy_that_says_too_little_or_too_much_is_refused(
    started: RunningServer, policy: dict[str, Any], pointer: str
) -> None:
    answer = started.http.put(PACK, json=policy)
    assert_problem(answer, 422, "validation")
    assert answer.json()["errors"][0]["pointer"].endswith(pointer), answer.text
    assert_problem(started.http.get(PACK), 404, "no-offline-pack")


@pytest.mark.slow
def test_a_field_that_no_item_has_yet_may_be_named(http: httpx.Client) -> None:
    made = result_of(http, http.put(PACK, json={"fields": ["later", "ümlaut/…"]}))
    assert (made["items"], made["thumbnails"]) == (49, 0)


@pytest.mark.slow
def test_a_cancelled_job_leaves_the_older_pack_and_is_not_begun_again_by_asking(
    http: httpx.Client, started: RunningServer, teacher: Encoder
) -> None:
    result_of(http, http.put(PACK, json=POLICY))
    etag = http.get(PACK).json()["etag"]
    _put(http, teacher, "cancelled")
    job = http.post(PACK).json()["id"]
    again = http.post(PACK).json()["id"]
    for each in {job, again}:
        http.post(f"/v1/jobs/{each}/cancel")
        assert wait_for_job(http, each)["state"] in {"cancelled", "done"}
    described = http.get(PACK).json()
    if described["etag"] == etag:
        assert described["is_current"] is False
        assert "building" not in described
    assert http.get(f"{PACK}/file").headers["etag"] == described["etag"]
    folder = started.data / "galleries/objects/offline"
    assert not [path for path in folder.iterdir() if path.name.startswith("building-")]
    http.delete("/v1/galleries/objects/items/cancelled")


@pytest.mark.slow
def test_allowing_making_and_withdrawing_at_once_ends_in_one_of_their_states(
    http: httpx.Client, started: RunningServer
) -> None:
    def call(number: int) -> int:
        with httpx.Client(base_url=started.url, timeout=60) as client:
            match number % 4:
                case 0:
                    return client.put(PACK, json=POLICY).status_code
                case 1:
                    return client.delete(PACK).status_code
                case 2:
                    return client.post(PACK).status_code
                case _:
                    return client.get(f"{PACK}/file").status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(call, range(48)))
    assert set(statuses) <= {200, 202, 404, 429}
    for job in http.get("/v1/jobs").json()["jobs"]:
        ended = wait_for_job(http, job["id"])
        assert ended["state"] in {"done", "cancelled"} or ended["problem"]["type"].endswith("no-offline-pack"), ended
    result_of(http, http.put(PACK, json=POLICY))
    assert http.delete(PACK).json() == {"deleted": "objects"}
    assert not (started.data / "galleries/objects/offline").exists()
    assert [path.name for path in (started.data / "galleries/objects").glob(".offline*")] == []


@pytest.mark.slow
def test_scopes_and_limits_of_keys(data: Path, teacher: Encoder) -> None:
    shutil.copytree(data / "galleries/objects", data / "galleries/theirs")
    admin_key = run_askew("key", "create", "admin", "--scope", "admin", "--data", data).stdout.strip()
    with RunningServer(data, "--gallery", "objects") as running:
        admin = {"api-key": admin_key}

        def key(scope: str, galleries: list[str] | None) -> dict[str, str]:
            wanted = {"name": "x", "scopes": [scope], "galleries": galleries}
            return {"api-key": running.http.post("/v1/keys", json=wanted, headers=admin).json()["key"]}

        search, write, other = key("search", None), key("write", None), key("search", ["theirs"])
        assert_problem(running.http.get(f"{PACK}/file"), 401, "unauthorised")
        for headers in (search, write):
            for method in ("PUT", "POST", "DELETE"):
                assert_problem(running.http.request(method, PACK, json=POLICY, headers=headers), 403, "forbidden")
        job = running.http.put(PACK, json=POLICY, headers=admin).json()["id"]
        while running.http.get(f"/v1/jobs/{job}", headers=admin).json()["state"] != "done":
            time.sleep(0.05)
        for path in (PACK, f"{PACK}/file"):
            assert running.http.get(path, headers=search).status_code == 200
            assert_problem(running.http.get(path, headers=other), 403, "forbidden")
        assert running.http.head(f"{PACK}/file", headers=other).status_code == 403
        theirs = "/v1/galleries/theirs/offline-pack"
        assert_problem(running.http.get(theirs, headers=other), 404, "no-offline-pack")
        # A gallery takes its pack with it.
        assert running.http.put(theirs, json=POLICY, headers=admin).status_code == 202
        deadline = time.monotonic() + DEADLINE
        while running.http.delete("/v1/galleries/theirs", headers=admin).status_code == 409:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not (data / "galleries/theirs").exists()


@pytest.mark.slow
def test_kill_9_while_a_pack_is_made_leaves_the_older_one_and_the_next_start_makes_it(data: Path) -> None:
    offline = data / "galleries/objects/offline"
    with RunningServer(data, "--gallery", "objects") as first:
        result_of(first.http, first.http.put(PACK, json=POLICY))
        older = first.http.get(f"{PACK}/file").content
        # A new size: every thumbnail is drawn again.
        job = first.http.put(PACK, json={**POLICY, "thumbnails": 256}).json()["id"]
        deadline = time.monotonic() + DEADLINE
        while not list(offline.glob("building-*/thumbnails")):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        first.kill()
    assert list(offline.glob("building-*"))
    assert hashlib.sha256(older).hexdigest() in {path.stem for path in offline.glob("*.pack")}
    examined = run_askew("doctor", "--data", data)
    assert "part of an offline pack that is not served" in examined.stdout
    with RunningServer(data, "--gallery", "objects") as second:
        served = second.http.get(f"{PACK}/file").content
        assert wait_for_job(second.http, job)["state"] == "done"
        assert second.http.get(PACK).json()["thumbnails"] == 256
        assert served == older or served == second.http.get(f"{PACK}/file").content
    assert not list(offline.glob("building-*"))
    assert "offline" not in run_askew("doctor", "--data", data).stdout


def test_a_policy_that_is_refused_for_lack_of_a_place_changes_nothing(data: Path) -> None:
    galleries, jobs = Catalog(data, owner="a test"), JobQueue(data, max_jobs=0)
    try:
        jobs.start()
        galleries.load()
        packs, gallery = OfflinePacks(galleries, jobs), galleries.get("objects")
        store = OfflineStore("objects", galleries.folder("objects"))
        with pytest.raises(Refusal, match="jobs already wait or run"):
            packs.allow(gallery, OfflinePackPolicy(fields=["kind"]))
        assert not store.folder.exists()
        store.allow(OfflinePackPolicy(fields=["kind"]))
        with pytest.raises(Refusal, match="jobs already wait or run"):
            packs.allow(gallery, OfflinePackPolicy(fields=["kind", "more"]))
        assert store.require_policy().fields == ["kind"]
    finally:
        jobs.close()
        galleries.close()
