"""More galleries than may be open at a time: idle ones sleep, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from pydantic import BaseModel, JsonValue

from askew_client.contract.search import SearchOptions
from askew_client.contract.wire import pack, pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.errors import Refusal
from askew_server.gallery.answer_size import AnswerSize, AnswersUnderWay
from askew_server.gallery.awake import AwakeGalleries, share_descriptors
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.kind import JobKind, JobStopped, Task
from askew_server.jobs.rebuild_index import RebuildJob
from askew_server.jobs.snapshots import RestoreJob
from askew_server.maintenance.snapshots import Snapshots
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.waiting import wait_until

MANY = 500
Answer = TypeVar("Answer")


def _copies(data: Path, teacher_file: Path, count: int) -> list[str]:
    """Galleries with one item each, which is named like its gallery's number and has the vector of that seed."""
    write_gallery(data, "g000", teacher_file, [StoredItem("same", unit_vector(0), {"n": 0})])
    names = [f"g{n:03}" for n in range(count)]
    for name in names[1:]:
        shutil.copytree(data / "galleries" / "g000", data / "galleries" / name)
    return names


@pytest.fixture
def six(tmp_path: Path, teacher_file: Path) -> Iterator[Catalog]:
    """Six galleries, of which two may be awake."""
    _copies(tmp_path / "data", teacher_file, 6)
    with closing(Catalog(tmp_path / "data", owner="a test", max_awake=2)) as catalog:
        catalog.load()
        yield catalog


def _found(gallery: LiveGallery, seed: int) -> str:
    size = AnswerSize(1_000_000, AnswersUnderWay(1_000_000))
    search = gallery.search(unit_vector(seed)[None], SearchOptions(limit=1), None, size)
    return asyncio.run(_awaited(search)).hits[0][0].id


async def _awaited(call: Awaitable[Answer]) -> Answer:
    return await call


def _write(gallery: LiveGallery, item_id: str, seed: int) -> int:
    batch = ItemBatch.of([StoredItem(item_id, unit_vector(seed), {"n": seed})])
    return gallery.run(lambda each: each.upsert(batch))


def _threads_of_galleries() -> set[str]:
    names = {thread.name.rpartition("_")[0] or thread.name for thread in threading.enumerate()}
    return {name.split("-")[-1] for name in names if name.startswith(("write-", "search-", "read-", "index-"))}


def test_a_gallery_that_slept_answers_as_before(six: Catalog) -> None:
    for n, name in enumerate(six.names()):
        _write(six.get(name), f"own-{n}", 100 + n)
    for n, name in enumerate(six.names()):
        gallery = six.get(name)
        assert _found(gallery, 100 + n) == f"own-{n}"
        assert _found(gallery, 0) == "same"
        assert gallery.run(lambda each: each.store.counts()) == (2, 0)
        assert gallery.written_and_deleted == (1, 0)
        assert gallery.rebuilds == {"ok": 0, "failed": 0}
        assert len(_threads_of_galleries()) <= 2


def test_sleeping_galleries_have_no_files_open_and_are_described_without_waking(six: Catalog) -> None:
    def opened() -> set[str]:
        links = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
        return {found[1] for each in links if (found := re.search(r"/data/galleries/(g\d+)/", each))}

    for name in six.names():
        _found(six.get(name), 0)
    assert opened() == {"g004", "g005"}
    described = [asyncio.run(_awaited(six.get(name).describe())) for name in six.names()]
    assert [(each.name, each.items, each.sequence) for each in described] == [(name, 1, 1) for name in six.names()]
    assert asyncio.run(_awaited(six.get("g000").statistics())).vectors == 1
    assert opened() == {"g004", "g005"}


def test_a_gallery_in_use_does_not_sleep_and_one_too_many_is_refused(six: Catalog) -> None:
    first, second, third = (six.get(name) for name in ("g000", "g001", "g002"))
    held, released = threading.Event(), threading.Event()

    def hold(gallery: Gallery) -> str:
        held.set()
        released.wait(60)
        return gallery.name

    writing = first.submit(hold)
    assert held.wait(60)
    with second.awake():
        assert not first.sleep()
        assert not second.sleep()
        with pytest.raises(Refusal, match="2 galleries are in use") as refused:
            _found(third, 0)
        assert refused.value.kind.slug == "overloaded"
    assert _found(third, 0) == "same"
    released.set()
    assert writing.result(60) == "g000"


def test_a_job_waits_until_a_gallery_can_be_awake_and_can_be_stopped_meanwhile(six: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    kept = Snapshots("g000", six.folder("g000")).create(lambda done, total: None)
    of_snapshot: dict[str, JsonValue] = {"gallery": "g000", "snapshot": kept.name}
    jobs: list[tuple[JobKind, Task]] = [
        (RebuildJob(six), Task("1", "g002", {}, folder)),
        (RestoreJob(six), Task("2", "restored", of_snapshot, folder)),
    ]
    for kind, task in jobs:
        stopped, reports = threading.Event(), threading.Semaphore(0)

        def cancelled(asked: threading.Semaphore = reports, stopped: threading.Event = stopped) -> bool:
            asked.release()
            return stopped.is_set()

        def run(kind: JobKind = kind, task: Task = task, cancelled: Callable[[], bool] = cancelled) -> BaseModel:
            return kind.run(task, lambda done, total: None, cancelled)

        with six.get("g000").awake(), six.get("g001").awake(), ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(run)
            # Twelve questions: more than the work itself asks, so the last ones come from one that waits.
            for _ in range(12):
                assert reports.acquire(timeout=60)
            assert not waiting.done()
            stopped.set()
            with pytest.raises(JobStopped):
                waiting.result(60)
        stopped.clear()
        with ThreadPoolExecutor(1) as threads:
            with six.get("g000").awake(), six.get("g001").awake():
                waiting = threads.submit(run)
                assert reports.acquire(timeout=60)
            waiting.result(60)
    assert _found(six.get("restored"), 0) == "same"


def test_the_one_that_was_idle_for_longest_sleeps(six: Catalog) -> None:
    busy = six.get("g000")
    for name in ("g001", "g002", "g003", "g004"):
        _found(busy, 0)
        _found(six.get(name), 0)
        # It was used last but one, and stays.
        assert "g000" in _threads_of_galleries()


def test_a_deleted_gallery_gives_its_place_back(six: Catalog, teacher: Encoder) -> None:
    for name in ("g000", "g001"):
        _found(six.get(name), 0)
        six.delete(name)
    assert _found(six.get("g002"), 0) == "same"
    six.get_or_create("new", teacher.manifest)
    assert six.names() == ["g002", "g003", "g004", "g005", "new"]


@pytest.mark.slow
def test_nothing_is_lost_while_galleries_sleep_and_wake_under_load(six: Catalog) -> None:
    names = six.names()

    def work(worker: int) -> None:
        draw = random.Random(worker)
        written: dict[str, list[int]] = {name: [] for name in names}
        for step in range(60):
            name = draw.choice(names)
            gallery = six.get(name)
            seed = 1_000 * (worker + 1) + step
            try:
                if draw.random() < 0.5:
                    _write(gallery, f"i{seed}", seed)
                    written[name].append(seed)
                elif written[name]:
                    wanted = draw.choice(written[name])
                    assert _found(gallery, wanted) == f"i{wanted}"
            except Refusal as refusal:
                # Four workers, two places.
                assert refusal.kind.slug == "overloaded"
        for name, seeds in written.items():
            for seed in seeds:
                for _ in range(100):
                    try:
                        assert _found(six.get(name), seed) == f"i{seed}"
                        break
                    except Refusal as refusal:
                        assert refusal.kind.slug == "overloaded"

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, worker) for worker in range(4)]:
            done.result()


@pytest.mark.parametrize(
    ("limit", "wanted", "connections", "awake"),
    [(1_024, 1_000, 432, 54), (1_024, 100, 100, 95), (20_000, 1_000, 1_000, 1_000), (1 << 20, 1_000, 1_000, 1_000), (256, 1_000, 48, 6)],
)  # fmt: skip
def test_descriptors_are_shared_between_connections_and_galleries(
    limit: int, wanted: int, connections: int, awake: int
) -> None:
    assert share_descriptors(limit, wanted) == (connections, awake)


def test_places_are_given_back() -> None:
    class Idle:
        last_used = 0.0

        def sleep(self) -> bool:
            return True

    places = AwakeGalleries(1)
    one, other = Idle(), Idle()
    places.enter(one)
    places.enter(other)
    assert len(places) == 1
    places.leave(other)
    assert len(places) == 0


@contextmanager
def _limited_server(data: Path, descriptors: int) -> Iterator[tuple[httpx.Client, int]]:
    """`askew serve` with a hard limit on open files; a client for it, and its process id."""
    command = [
        "prlimit", f"--nofile={descriptors}:{descriptors}",
        str(Path(sys.executable).with_name("askew")), "serve", "--data", str(data), "--gallery", "g000", "--port", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        limits = httpx.Limits(max_connections=8)
        with httpx.Client(base_url=url, timeout=120, limits=limits) as http:
            wait_until(lambda: http.get("/readyz").status_code == 200, "the server")
            yield http, process.pid
    finally:
        process.terminate()
        process.communicate(timeout=120)


@pytest.mark.slow
def test_five_hundred_galleries_are_served_with_a_limit_of_1024_open_files(
    tmp_path: Path, teacher_file: Path, teacher: Encoder
) -> None:
    data = tmp_path / "data"
    names = _copies(data, teacher_file, MANY)
    headers = {"Content-Type": "application/octet-stream", "Askew-Space": teacher.space_id, "Askew-Dtype": "f16le"}
    most = 0

    def first_hit(http: httpx.Client, name: str, seed: int) -> str:
        found = http.post(f"/v1/galleries/{name}/search?limit=1", content=pack(unit_vector(seed)), headers=headers)
        assert found.status_code == 200, f"{name}: {found.text}"
        return str(found.json()["hits"][0]["id"])

    with _limited_server(data, 1_024) as (http, pid):

        def work(number: int) -> None:
            nonlocal most
            name = names[number]
            vector = {"id": f"own-{number}", "vector": pack_base64(unit_vector(1_000 + number)), "dtype": "f16le"}
            stored = http.put(f"/v1/galleries/{name}/items", json={"space": teacher.space_id, "items": [vector]})
            assert stored.status_code == 200, stored.text
            assert first_hit(http, name, 1_000 + number) == f"own-{number}"
            assert first_hit(http, "g000", 0) == "same"
            most = max(most, len(list(Path(f"/proc/{pid}/fd").iterdir())))

        order = list(range(1, MANY))
        random.Random(0).shuffle(order)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, order))
        listed = http.get("/v1/galleries").json()["galleries"]
        assert [each["name"] for each in listed] == names
        assert {each["items"] for each in listed[1:]} == {2}
        assert most < 900
    with _limited_server(data, 1_024) as (http, pid):
        for number in order[:100]:
            assert first_hit(http, names[number], 1_000 + number) == f"own-{number}"
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 900
