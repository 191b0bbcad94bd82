"""A disk that is full or does not accept writes: no write is done partially, searches continue, later writes work."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.errors import Refusal
from askew_server.http.problems import install_problem_handlers
from askew_server.maintenance.snapshots import Snapshots
from askew_server.problems import report_error
from askew_server.storage.errors import (
    DamagedDatabase,
    DatabaseError,
    DiskFull,
    DiskNotWritable,
    OutOfDescriptors,
    database_error,
    storage_problem,
)
from askew_server.storage.items import ItemBatch, SqliteItemStore, StoredItem
from askew_server.storage.sqlite import Database
from tests.support.gallery_files import item_json, unit_vector
from tests.support.in_process_cli import call_askew
from tests.support.job_waiting import wait_for_accepted
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew

ITEMS = "/v1/galleries/objects/items"


def _items(count: int) -> ItemBatch:
    return ItemBatch.of([StoredItem(f"item-{n}", np.eye(1, 2048, n, dtype=np.float32)[0], {}) for n in range(count)])


@pytest.fixture
def full_store(tmp_path: Path) -> Iterator[SqliteItemStore]:
    """A store whose database must not grow, as on a full disk: SQLite answers SQLITE_FULL."""
    store = SqliteItemStore(tmp_path / "gallery")
    store.begin({"dim": "2048"})
    store.upsert(_items(3))
    pages = store.connection.value("PRAGMA page_count")
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    yield store
    store.close()


def test_a_write_that_finds_the_disk_full_changes_nothing_and_the_next_one_works(full_store: SqliteItemStore) -> None:
    with pytest.raises(DiskFull, match="full"):
        full_store.upsert(_items(200))
    assert full_store.counts() == (3, 0)
    assert full_store.sequence == 3
    full_store.connection.execute("PRAGMA max_page_count = 1000000")
    full_store.upsert(_items(200))
    assert full_store.counts() == (200, 0)


@pytest.mark.parametrize("kind", ["database", "photo"])
def test_a_full_disk_is_answered_with_507(full_store: SqliteItemStore, kind: str) -> None:
    app = FastAPI()
    install_problem_handlers(app)

    @app.put("/")
    async def write() -> None:
        if kind == "photo":
            raise OSError(errno.ENOSPC, "No space left on device")
        full_store.upsert(_items(200))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://askew") as client:
            return await client.put("/")

    answer = asyncio.run(ask())
    assert answer.status_code == 507
    assert answer.json()["type"] == "/problems/insufficient-storage"
    assert "disk is full" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ENOSPC, ProblemKind.INSUFFICIENT_STORAGE, "disk is full"),
        (errno.EDQUOT, ProblemKind.INSUFFICIENT_STORAGE, "disk is full"),
        (errno.EROFS, ProblemKind.INSUFFICIENT_STORAGE, "does not accept writes (Read-only file system)"),
        (errno.EACCES, ProblemKind.INSUFFICIENT_STORAGE, "does not accept writes (Permission denied)"),
        (errno.EIO, ProblemKind.INSUFFICIENT_STORAGE, "does not accept writes"),
        (errno.EMFILE, ProblemKind.OUT_OF_DESCRIPTORS, "as many files and connections open as it may"),
        (errno.ENFILE, ProblemKind.OUT_OF_DESCRIPTORS, "as many files and connections open as it may"),
        (errno.ENOMEM, ProblemKind.OUT_OF_MEMORY, "no memory left"),
    ],
)
def test_an_error_of_the_disk_becomes_a_sentence(code: int, kind: ProblemKind, words: str) -> None:
    problem = storage_problem(OSError(code, os.strerror(code)))
    assert problem is not None
    assert problem[0] is kind
    assert words in problem[1]
    assert storage_problem(OSError(errno.ECONNRESET, "reset")) is None
    assert storage_problem(ValueError("no disk")) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_IOERR_SHMSIZE, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_READONLY, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_IOERR_WRITE, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_IOERR_FSYNC, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_CANTOPEN, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_PERM, ProblemKind.INSUFFICIENT_STORAGE),
        (sqlite3.SQLITE_NOMEM, ProblemKind.OUT_OF_MEMORY),
        (sqlite3.SQLITE_IOERR_NOMEM, ProblemKind.OUT_OF_MEMORY),
        (sqlite3.SQLITE_CORRUPT, ProblemKind.DAMAGED_GALLERY),
        (sqlite3.SQLITE_NOTADB, ProblemKind.DAMAGED_GALLERY),
        (sqlite3.SQLITE_IOERR_SHORT_READ, ProblemKind.DAMAGED_GALLERY),
        (sqlite3.SQLITE_CONSTRAINT, None),
        (sqlite3.SQLITE_BUSY, None),
    ],
)
def test_a_code_of_sqlite_is_one_kind_of_problem(code: int, kind: ProblemKind | None) -> None:
    error = sqlite3.OperationalError("something")
    error.sqlite_errorcode = code
    assert _kind_of(database_error(error)) is kind


def test_exhaustion_of_memory_and_of_threads_is_told_as_such() -> None:
    for error in (MemoryError(), RuntimeError("can't start new thread")):
        report = report_error(error, "request 1")
        assert (report.kind, report.kind.status, report.retry_after) == (ProblemKind.OUT_OF_MEMORY, 503, 1)
        assert "Traceback" not in report.detail
    assert report_error(RuntimeError("anything else"), "request 1").kind is ProblemKind.INTERNAL


def test_a_database_that_cannot_be_opened_for_want_of_descriptors_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with Database.open(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE some (n)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    try:
        for free in range(3):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1 + free, hard))
            with pytest.raises(OutOfDescriptors) as refused, Database.open(path) as database:
                database.execute("INSERT INTO some VALUES (1)")
            assert _kind_of(refused.value) is ProblemKind.OUT_OF_DESCRIPTORS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
    with Database.open(path) as database:
        database.execute("INSERT INTO some VALUES (1)")


def test_a_corrupt_database_is_distinguished_from_one_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(DamagedDatabase) as corrupt, Database.open(path) as database:
        database.rows("SELECT * FROM sqlite_master")
    assert _kind_of(corrupt.value) is ProblemKind.DAMAGED_GALLERY
    path.unlink()
    with Database.open(path) as database:
        database.execute("CREATE TABLE some (n)")
    with pytest.raises(DiskNotWritable) as unwritable, Database.open_read_only(path) as database:
        database.execute("INSERT INTO some VALUES (1)")
    assert _kind_of(unwritable.value) is ProblemKind.INSUFFICIENT_STORAGE
    with pytest.raises(DatabaseError) as other, Database.open(path) as database:
        database.execute("CREATE UNIQUE INDEX one ON some (n)")
        database.execute_many("INSERT INTO some VALUES (?)", [(1,), (1,)])
    assert _kind_of(other.value) is None


def _kind_of(error: Exception) -> ProblemKind | None:
    problem = storage_problem(error)
    return None if problem is None else problem[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    with _mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m", "tmpfs") as disk:
        yield disk


@contextmanager
def _mounted(point: Path, *options: str | Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a disk takes root")
    point.mkdir()
    done = subprocess.run(["mount", *map(str, options), str(point)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a disk is not allowed here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def _written(server: RunningServer, space: str, first: int, count: int = 1, text: str = "") -> httpx.Response:
    items = [item_json(f"new-{n}", n, text=text) for n in range(first, first + count)]
    return server.http.put(ITEMS, json={"space": space, "items": items})


def _found(server: RunningServer, space: str, seed: int) -> str:
    query = {"vector": pack_base64(unit_vector(seed)), "dtype": "f16le", "space": space, "limit": 1}
    answer = server.http.post("/search", json=query)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["hits"][0]["id"])


@pytest.mark.slow
def test_on_a_real_full_disk_writes_are_refused_reads_continue_and_freed_space_is_used(
    data: Path, small_disk: Path, headers: dict[str, str]
) -> None:
    space = headers["Askew-Space"]
    shutil.copytree(data, small_disk / "data")
    photo = next((data / "galleries" / "objects" / "photos").glob("*/*.jpg")).read_bytes()
    form = {"vector": pack_base64(unit_vector(7)), "dtype": "f16le", "space": space}
    with RunningServer(small_disk / "data", "--gallery", "objects") as server:
        assert _written(server, space, 0, 10).status_code == 200
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
            while True:
                stream.write(bytes(4_096))
        refused = _written(server, space, 100, 500, text="x" * 200)
        problem = assert_problem(refused, 507, "insufficient-storage", "disk is full", "searches continue")
        assert "Traceback" not in str(problem)
        pictured = server.http.put(f"{ITEMS}/pictured", data=form, files={"photo": ("p", photo + b"1", "image/jpeg")})
        assert_problem(pictured, 507, "insufficient-storage", "disk is full")
        assert server.http.get("/v1/galleries/objects").json()["items"] == 59
        assert _found(server, space, 3) == "new-3"
        assert server.http.get(f"{ITEMS}/new-5").status_code == 200
        assert server.http.get("/readyz").status_code == 200
        snapshot = server.http.post("/v1/galleries/objects/snapshots")
        if snapshot.status_code == 202:
            job = wait_for_accepted(server.http, snapshot)
            assert job["state"] == "failed", job
            assert job["problem"]["status"] == 507
        else:
            assert_problem(snapshot, 507, "insufficient-storage")

        ballast.unlink()
        assert _written(server, space, 100, 500, text="x" * 200).status_code == 200
        assert _found(server, space, 400) == "new-400"
        pictured = server.http.put(f"{ITEMS}/pictured", data=form, files={"photo": ("p", photo + b"1", "image/jpeg")})
        assert pictured.status_code == 200, pictured.text
        output = server.stop()
        assert "Traceback" not in output
    assert list((small_disk / "data" / "galleries").rglob("*.part")) == []
    with RunningServer(small_disk / "data", "--gallery", "objects") as server:
        assert server.http.get("/v1/galleries/objects").json()["items"] == 560
        assert _found(server, space, 599) == "new-599"


@pytest.mark.slow
def test_a_gallery_that_is_created_on_a_full_disk_leaves_nothing_behind(
    data: Path, small_disk: Path, teacher_file: Path, teacher: Encoder
) -> None:
    shutil.copytree(data, small_disk / "data")
    galleries = small_disk / "data" / "galleries"
    manifest = {"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}
    file: dict[str, Any] = {
        "content": teacher_file.read_bytes(),
        "headers": {"Content-Type": "application/octet-stream"},
    }
    with RunningServer(small_disk / "data", "--gallery", "objects") as server:
        ballast = small_disk / "ballast"
        # From no room at all to some for the database, and none for the file.
        for free in (0, 8, 40, 100):
            with ballast.open("wb", buffering=0) as stream:
                with pytest.raises(OSError, match="No space left"):
                    while True:
                        stream.write(bytes(4_096))
                stream.truncate(max(0, stream.tell() - free * 1_024))
            for _ in range(2):
                refused = server.http.put("/v1/galleries/h", **file)
                if refused.status_code == 201:
                    assert server.http.delete("/v1/galleries/h").status_code == 200
                    continue
                problem = assert_problem(refused, 507, "insufficient-storage", "disk is full")
                assert str(small_disk) not in str(problem)
                assert sorted(path.name for path in galleries.iterdir()) == [".record", "objects"], f"{free} kB free"
                assert server.http.get("/v1/galleries/h").status_code == 404
            if free == 0:
                assert_problem(server.http.put("/v1/galleries/h", json=manifest), 507, "insufficient-storage")
            ballast.unlink()
        assert server.http.put("/v1/galleries/h", **file).status_code == 201
        assert "Traceback" not in server.stop()
    assert sorted(path.name for path in galleries.iterdir()) == [".record", "h", "objects"]


@pytest.mark.slow
def test_a_server_without_descriptors_says_so_and_recovers(
    data: Path, teacher: Encoder, photo: Path, headers: dict[str, str]
) -> None:
    manifest = {"teacher": teacher.manifest.model_dump(mode="json", exclude_none=True)}
    space = headers["Askew-Space"]
    with RunningServer(data, "--gallery", "objects") as server:
        assert _written(server, space, 0, 10).status_code == 200
        # SQLite opens the log with the first read.
        assert _found(server, space, 3) == "new-3"
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        opened = max(int(each.name) for each in Path(f"/proc/{server.process.pid}/fd").iterdir()) + 1
        refused = 0
        for free in (0, 1, 2, 3):
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (opened + free, hard))
            answers = [
                server.http.put("/v1/galleries/another", json=manifest),
                server.http.get(f"{ITEMS}/{photo.stem}/photo"),
                server.http.get("/v1/galleries/objects/index"),
            ]
            for answer in answers:
                if answer.status_code >= 400:
                    assert_problem(answer, 503, "out-of-descriptors", "ulimit -n")
                    assert answer.headers["retry-after"] == "1"
                    refused += 1
            assert _found(server, space, 3) == "new-3"
        assert refused >= 4
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert server.http.get(f"{ITEMS}/{photo.stem}/photo").status_code == 200
        assert server.http.put("/v1/galleries/another", json=manifest).status_code in {200, 201}
        assert {path.name for path in (data / "galleries").iterdir()} == {".record", "another", "objects"}
        assert server.http.get("/readyz").json()["quarantined"] == 0


@pytest.mark.slow
def test_while_the_disk_accepts_no_writes_searches_continue_and_afterwards_writes_work(
    data: Path, headers: dict[str, str]
) -> None:
    """The kernel refuses every write of the running server, as it does when a disk has turned read-only."""
    space = headers["Askew-Space"]
    with RunningServer(data, "--gallery", "objects") as server:
        assert _written(server, space, 0, 10).status_code == 200
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, hard))
        for _ in range(3):
            assert_problem(
                _written(server, space, 20), 507, "insufficient-storage", "does not accept writes", "searches continue"
            )
        assert_problem(server.http.delete(f"{ITEMS}/new-3"), 507, "insufficient-storage")
        assert_problem(server.http.post("/v1/galleries/objects/snapshots"), 507, "insufficient-storage")
        assert _found(server, space, 3) == "new-3"
        assert server.http.get("/v1/galleries/objects").json()["items"] == 59
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert _written(server, space, 20).status_code == 200
        assert _found(server, space, 20) == "new-20"
        assert server.http.delete(f"{ITEMS}/new-3").status_code == 200
    with RunningServer(data, "--gallery", "objects") as server:
        assert server.http.get("/v1/galleries/objects").json()["items"] == 59
        assert _found(server, space, 20) == "new-20"


@pytest.mark.slow
def test_a_read_only_directory_is_not_served_but_can_be_examined(data: Path, tmp_path: Path) -> None:
    Snapshots("objects", data / "galleries" / "objects").create(lambda *_: None)
    with _mounted(tmp_path / "disk", "--bind", data) as disk:
        done = subprocess.run(
            ["mount", "-o", "remount,bind,ro", str(disk)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting a disk read-only is not allowed here: {done.stderr.strip()}")
        served = run_askew("serve", "--data", disk, "--port", "0")
        assert served.returncode == 1
        assert "cannot be written" in served.stderr
        assert "Traceback" not in served.stderr
        examined = call_askew("doctor", "--data", disk)
        assert examined.returncode == 1
        assert "does not accept writes" in examined.stdout
        assert "gallery 'objects': 49 items" in examined.stdout
        assert examined.stdout.count("damage:") == 1
        (archive,) = (disk / "galleries" / "objects" / "snapshots").glob("*.tar")
        assert "is whole" in call_askew("snapshot", "verify", archive).stdout


def test_a_snapshot_that_the_disk_cannot_hold_is_refused_before_it_begins(data: Path, small_disk: Path) -> None:
    shutil.copytree(data, small_disk / "data")
    with pytest.raises(Refusal) as refused:
        Snapshots("objects", small_disk / "data" / "galleries" / "objects").create(lambda *_: None)
    assert refused.value.kind is ProblemKind.WOULD_NOT_FIT
