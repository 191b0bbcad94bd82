"""Snapshots: one file with the gallery at one moment; a file that is anything else is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import pack_base64
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.jobs.kind import JobStopped, Task
from askew_server.jobs.snapshots import RestoreJob, SnapshotJob
from askew_server.maintenance.gallery_copy import link_files
from askew_server.maintenance.restore import restore_gallery
from askew_server.maintenance.snapshot_archive import read_snapshot
from askew_server.maintenance.snapshots import Snapshots
from askew_server.storage.items import ItemBatch, SqliteItemStore, StoredItem
from tests.support.gallery_files import item_json, unit_vector
from tests.support.in_process_cli import call_askew
from tests.support.job_waiting import result_of, wait_for_accepted
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer, run_askew

OBJECTS = "/v1/galleries/objects"


def _contents(http: httpx.Client, gallery: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = http.get(f"/v1/galleries/{gallery}/items?with_vectors=true&limit=1000{cursor}").json()
        found += page["items"]
        if page.get("next_cursor") is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.slow
def test_a_snapshot_is_made_fetched_verified_and_restored_while_the_server_serves(
    data: Path, headers: dict[str, str], body: bytes
) -> None:
    with RunningServer(data, "--gallery", "objects") as server:
        http = server.http
        snapshot = result_of(http, http.post(f"{OBJECTS}/snapshots"))
        assert (snapshot["gallery"], snapshot["items"], snapshot["photos"]) == ("objects", 49, 49)
        assert http.get(f"{OBJECTS}/snapshots").json() == {"snapshots": [snapshot]}
        assert result_of(http, http.post(f"{OBJECTS}/snapshots/{snapshot['name']}/verify")) == snapshot

        url = f"{OBJECTS}/snapshots/{snapshot['name']}"
        whole = http.get(url)
        assert hashlib.sha256(whole.content).hexdigest() == snapshot["sha256"]
        assert whole.headers["etag"] == f'"{snapshot["sha256"]}"'
        part = http.get(url, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, whole.content[1000:2000])
        assert http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304

        before = _contents(http, "objects")
        http.put(f"{OBJECTS}/items", json={"space": headers["Askew-Space"], "items": [item_json("later", 1)]})
        source = {"gallery": "objects", "snapshot": snapshot["name"]}
        assert result_of(http, http.post("/v1/galleries/copied/restore", json=source))["items"] == 49
        sent = http.post(
            "/v1/galleries/sent/restore", content=whole.content, headers={"Content-Type": "application/x-tar"}
        )
        assert result_of(http, sent)["items"] == 49
        for name in ("copied", "sent"):
            assert _contents(http, name) == before
            first = http.post(f"/v1/galleries/{name}/search", content=body, headers=headers).json()["hits"][0]
            photo = http.get(f"/v1/galleries/{name}/items/{first['id']}/photo")
            assert photo.content == http.get(f"{OBJECTS}/items/{first['id']}/photo").content
            assert http.get(f"/v1/galleries/{name}").json()["describes_photos"]
        assert len(_contents(http, "objects")) == 50

        assert http.delete(url).json() == {"deleted": snapshot["name"]}
        assert http.get(f"{OBJECTS}/snapshots").json() == {"snapshots": []}
        assert_problem(http.get(url), 404, "unknown-snapshot", str(snapshot["name"]))
        assert_problem(http.delete(url), 404, "unknown-snapshot")
        taken = http.post("/v1/galleries/copied/restore", json=source)
        assert_problem(taken, 409, "gallery-conflict", "'copied'")


@pytest.mark.slow
def test_a_snapshot_is_of_one_moment_although_writes_continue(
    data: Path, tmp_path: Path, headers: dict[str, str]
) -> None:
    """Every write puts 20 items that share a number: a snapshot holds all of one number, with whole photos."""
    photos = sorted((data / "galleries" / "objects" / "photos").glob("*/*.jpg"))
    with RunningServer(data, "--gallery", "objects") as server:
        ending = threading.Event()

        def write() -> None:
            with httpx.Client(base_url=server.url, timeout=30) as http:
                number = 0
                while not ending.is_set():
                    number += 1
                    items = [item_json(f"same-{n}", number * 20 + n, number=number) for n in range(20)]
                    http.put(f"{OBJECTS}/items", json={"space": headers["Askew-Space"], "items": items})
                    form = {
                        "vector": pack_base64(unit_vector(number)),
                        "dtype": "f16le",
                        "space": headers["Askew-Space"],
                    }
                    content = photos[number % len(photos)].read_bytes() + str(number).encode()
                    http.put(f"{OBJECTS}/items/pictured", data=form, files={"photo": ("p", content, "image/jpeg")})

        writer = threading.Thread(target=write)
        writer.start()
        try:
            made = [result_of(server.http, server.http.post(f"{OBJECTS}/snapshots")) for _ in range(4)]
        finally:
            ending.set()
            writer.join()
    seen = set()
    for snapshot in made:
        unpacked = tmp_path / str(snapshot["name"])
        read_snapshot(
            data / "galleries" / "objects" / "snapshots" / f"{snapshot['name']}.tar", unpacked, lambda *_: None
        )
        with sqlite3.connect(unpacked / "gallery.db") as database:
            rows = database.execute("SELECT payload FROM items WHERE id LIKE 'same-%'").fetchall()
            named = {photo for (photo,) in database.execute("SELECT photo FROM items WHERE photo IS NOT NULL")}
            (sequence,) = database.execute("SELECT value FROM facts WHERE key = 'sequence'").fetchone()
        database.close()
        numbers = {json.loads(text)["number"] for (text,) in rows}
        assert (len(rows), len(numbers)) in {(20, 1), (0, 0)}
        for photo in named:
            content = (unpacked / "photos" / photo[:2] / photo).read_bytes()
            assert hashlib.sha256(content).hexdigest() == Path(photo).stem
        seen.add(sequence)
    assert len(seen) == 4, "nothing was written between the snapshots, so nothing was shown"


def test_a_snapshot_of_the_same_second_and_of_a_clock_that_went_back_gets_another_name(data: Path) -> None:
    moments = iter(["2031-01-01T00:00:00+00:00", "2031-01-01T00:00:00+00:00", "1999-12-31T23:59:59+00:00"])
    snapshots = Snapshots("objects", data / "galleries" / "objects", clock=lambda: next(moments))
    names = [snapshots.create(_nowhere).name for _ in range(3)]
    assert names == ["20310101T000000Z", "20310101T000000Z-2", "19991231T235959Z"]
    assert [each.name for each in snapshots.list()] == ["20310101T000000Z-2", "20310101T000000Z", "19991231T235959Z"]
    for name in names:
        snapshots.verify(name, _nowhere)


@pytest.fixture(scope="module")
def archive(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good snapshot file of the indexed gallery."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copytree(indexed / "data" / "galleries" / "objects", folder / "objects")
    snapshots = Snapshots("objects", folder / "objects")
    path = folder / "good.tar"
    snapshots.copy_to(snapshots.create(_nowhere).name, path)
    return path


def test_any_tar_program_reads_a_snapshot(archive: Path) -> None:
    with tarfile.open(archive, "r:") as tar:
        names = tar.getnames()
        assert names[:2] == ["manifest.json", "gallery.db"]
        manifest = json.loads(_content(tar, "manifest.json"))
        for member in manifest["members"]:
            content = _content(tar, member["path"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (member["bytes"], member["sha256"])
    assert names[1:] == [member["path"] for member in manifest["members"]]


@pytest.mark.slow
def test_a_flipped_bit_in_any_member_of_a_snapshot_is_noticed(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    random = np.random.default_rng(5)
    with tarfile.open(archive, "r:") as tar:
        used = [
            position
            for member in tar
            for position in random.integers(member.offset_data, member.offset_data + member.size, 3)
        ]
    path = tmp_path / "flipped.tar"
    for position in used:
        path.write_bytes(
            content[:position] + bytes([content[position] ^ (1 << int(random.integers(8)))]) + content[position + 1 :]
        )
        with pytest.raises(Refusal, match=r"flipped\.tar"):
            read_snapshot(path, None, _nowhere)


Manifest = dict[str, Any]


def _members(archive: Path) -> tuple[Manifest, dict[str, bytes]]:
    with tarfile.open(archive, "r:") as tar:
        contents = {member.name: _content(tar, member) for member in tar}
    return json.loads(contents.pop("manifest.json")), contents


def _content(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read()


def _written(path: Path, manifest: Manifest, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    text = json.dumps(manifest).encode()
    with tarfile.open(path, "w:", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    # tarfile pads to a record of 20 blocks, a snapshot does not.
    with tarfile.open(path, "r:") as tar:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in tar)
    path.write_bytes(path.read_bytes()[: end + 1024])
    return path


def _file(name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def _entry(name: str, content: bytes, **changed: object) -> dict[str, object]:
    return {"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changed}


Members = dict[str, bytes]
Hostile = Callable[[Manifest, Members], list[tuple[tarfile.TarInfo, bytes]]]


def _with_extra(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"evil") -> Hostile:
    """A snapshot with one member more, which its manifest names as well."""

    def make(manifest: Manifest, members: Members) -> list[tuple[tarfile.TarInfo, bytes]]:
        manifest["members"].append(_entry(name, content))
        return [*(_file(each, given) for each, given in members.items()), _file(name, content, kind, link)]

    return make


def _with_manifest(change: Callable[[Manifest], object]) -> Hostile:
    def make(manifest: Manifest, members: Members) -> list[tuple[tarfile.TarInfo, bytes]]:
        change(manifest)
        return [_file(each, given) for each, given in members.items()]

    return make


def _with_database(change: str) -> Hostile:
    """A snapshot whose database was changed by SQL, with a manifest and digests that match it."""

    def make(manifest: Manifest, members: Members) -> list[tuple[tarfile.TarInfo, bytes]]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "gallery.db"
            path.write_bytes(members["gallery.db"])
            database = sqlite3.connect(path)
            database.executescript(change)
            database.close()
            members["gallery.db"] = path.read_bytes()
        manifest["members"][0] = _entry("gallery.db", members["gallery.db"])
        return [_file(each, given) for each, given in members.items()]

    return make


PHOTO = "photos/" + hashlib.sha256(b"evil").hexdigest()[:2] + "/" + hashlib.sha256(b"evil").hexdigest() + ".jpg"
HOSTILE: dict[str, Hostile] = {
    "absolute path": _with_extra("/tmp/evil"),
    "path upwards": _with_extra("photos/../../../evil"),
    "path upwards within a name": _with_extra("photos/ab/../../evil.jpg"),
    "unknown member": _with_extra("lock"),
    "symbolic link": _with_extra(PHOTO, tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": _with_extra(PHOTO, tarfile.LNKTYPE, "gallery.db"),
    "device": _with_extra(PHOTO, tarfile.CHRTYPE),
    "pipe": _with_extra(PHOTO, tarfile.FIFOTYPE),
    "directory": _with_extra(PHOTO, tarfile.DIRTYPE),
    "wrong photo": _with_extra(PHOTO, content=b"other"),
    "long name": _with_extra("photos/" + "a" * 300),
    "same member twice": _with_extra("gallery.db"),
    "size bomb": _with_manifest(lambda manifest: manifest["members"][0].update(bytes=1 << 50)),
    "negative size": _with_manifest(lambda manifest: manifest["members"][0].update(bytes=-1)),
    "wrong digest": _with_manifest(lambda manifest: manifest["members"][0].update(sha256="0" * 64)),
    "no database": _with_manifest(lambda manifest: manifest["members"].pop(0)),
    "format of tomorrow": _with_manifest(lambda manifest: manifest.update(format=2)),
    "other space": _with_manifest(lambda manifest: manifest.update(space="sp1-" + "0" * 32)),
    "other count": _with_manifest(lambda manifest: manifest.update(items=48)),
    "deep JSON": _with_manifest(lambda manifest: manifest.update(deep=json.loads("[" * 900 + "]" * 900))),
    "trigger": _with_database("CREATE TRIGGER evil AFTER INSERT ON items BEGIN DELETE FROM vectors; END"),
    "view": _with_database("CREATE VIEW evil AS SELECT * FROM items"),
    "vector of another length": _with_database("UPDATE vectors SET vector = x'0000' WHERE label = 3"),
    "payload that was changed": _with_database('UPDATE items SET payload = \'{"kind": "evil"}\' WHERE label = 3'),
    "photo that is missing": _with_database("UPDATE items SET photo = 'aa' || substr(photo, 3) WHERE label = 3"),
    "no facts": _with_database("DELETE FROM facts"),
    "no table": _with_database("DROP TABLE items"),
}


@pytest.mark.slow
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_snapshot_is_refused_and_leaves_nothing(
    archive: Path, tmp_path: Path, hostile: str, restoring: Restoring
) -> None:
    manifest, members = _members(archive)
    path = _written(tmp_path / "hostile.tar", manifest, HOSTILE[hostile](manifest, members))
    before = sorted(restoring.folders_on_disk())
    with pytest.raises(Refusal, match=r"hostile\.tar") as refused:
        restore_gallery(restoring.galleries, "new", path, _nowhere, lambda: None)
    assert refused.value.kind in {ProblemKind.DAMAGED_SNAPSHOT, ProblemKind.WOULD_NOT_FIT}
    assert sorted(restoring.folders_on_disk()) == before
    assert restoring.galleries.names() == []


def test_a_snapshot_that_is_packed_like_the_hostile_ones_is_restored(
    archive: Path, tmp_path: Path, restoring: Restoring
) -> None:
    manifest, members = _members(archive)
    path = _written(tmp_path / "same.tar", manifest, [_file(name, content) for name, content in members.items()])
    restore_gallery(restoring.galleries, "new", path, _nowhere, lambda: None)
    assert restoring.galleries.names() == ["new"]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE, tarfile.REGTYPE])
def test_a_header_that_announces_a_gigabyte_is_refused_without_reading_it(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "announced.tar"
    info = tarfile.TarInfo("manifest.json")
    info.type, info.size = kind, 1 << 30
    with path.open("wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.truncate(info.size + 2_048)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match=r"announced\.tar"):
            read_snapshot(path, None, _nowhere)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_truncated_snapshot_is_refused_wherever_it_ends(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    path = tmp_path / "cut.tar"
    for length in (0, 1, 511, 512, 600, 5_000, len(content) // 2, len(content) - 1_024, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(Refusal, match=r"cut\.tar"):
            read_snapshot(path, None, _nowhere)
    path.write_bytes(content + bytes(512))
    with pytest.raises(Refusal, match=r"cut\.tar"):
        read_snapshot(path, None, _nowhere)


def test_what_would_not_fit_is_refused_before_it_is_written(data: Path, archive: Path, restoring: Restoring) -> None:
    folder = data / "galleries" / "objects"
    with pytest.raises(Refusal, match="60,000,000 are free") as refused:
        Snapshots("objects", folder, free_bytes=lambda _: 60_000_000).create(_nowhere)
    assert refused.value.kind is ProblemKind.WOULD_NOT_FIT
    assert list((folder / "snapshots").iterdir()) == []
    with pytest.raises(Refusal, match="60,000,000 are free"):
        restore_gallery(restoring.galleries, "new", archive, _nowhere, lambda: None, free_bytes=lambda _: 60_000_000)


def test_no_snapshot_is_made_of_a_damaged_gallery(data: Path) -> None:
    folder = data / "galleries" / "objects"
    photo = next((folder / "photos").glob("*/*.jpg"))
    whole = photo.read_bytes()
    snapshots = Snapshots("objects", folder)
    photo.write_bytes(whole[:-10] + bytes(10))
    with pytest.raises(Refusal, match=photo.name):
        snapshots.create(_nowhere)
    photo.unlink()
    with pytest.raises(Refusal, match=photo.name):
        snapshots.create(_nowhere)
    photo.write_bytes(whole)
    (encoder,) = (folder / "encoders").glob("*.onnx")
    whole = encoder.read_bytes()
    encoder.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    with pytest.raises(Refusal, match=encoder.name):
        snapshots.create(_nowhere)
    encoder.write_bytes(whole)
    path = folder / "gallery.db"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"kind":"object"', b'"kind":"objecu"', 1))
    with pytest.raises(Refusal, match="does not match its checksum"):
        snapshots.create(_nowhere)
    path.write_bytes(whole)
    snapshots.create(_nowhere)
    assert len(snapshots.list()) == 1
    assert sorted(path.suffix for path in (folder / "snapshots").iterdir()) == [".json", ".tar"]


@pytest.mark.slow
def test_a_damaged_gallery_is_restored_over_and_keeps_its_snapshots(
    data: Path, headers: dict[str, str], body: bytes
) -> None:
    folder = data / "galleries" / "objects"
    first = Snapshots("objects", folder).create(_nowhere)
    damaged = b"no database at all" * 1000
    (folder / "gallery.db").write_bytes(damaged)
    with RunningServer(data, "--gallery", "objects") as server:
        http = server.http
        assert_problem(
            http.post(f"{OBJECTS}/search", content=body, headers=headers), 503, "damaged-gallery", "askew doctor"
        )
        assert http.get(f"{OBJECTS}/snapshots").json()["snapshots"][0]["name"] == first.name
        answer = http.post(f"{OBJECTS}/restore", json={"gallery": "objects", "snapshot": first.name})
        assert result_of(http, answer)["items"] == 49
        assert http.post(f"{OBJECTS}/search", content=body, headers=headers).json()["hits"]
        assert http.get(f"{OBJECTS}/snapshots").json()["snapshots"][0]["name"] == first.name
    assert (folder / "damaged" / "before-restore" / "gallery.db").read_bytes() == damaged
    with RunningServer(data, "--gallery", "objects") as server:
        assert len(_contents(server.http, "objects")) == 49


@pytest.mark.slow
def test_an_upload_that_is_not_a_snapshot_fails_with_a_sentence_and_leaves_nothing(data: Path, archive: Path) -> None:
    content = archive.read_bytes()
    with RunningServer(data, "--gallery", "objects") as server:
        http = server.http
        for sent in (b"", b"x" * 10_000, content[:-2_000], content[:9_000] + b"y" + content[9_001:]):
            answer = http.post("/v1/galleries/new/restore", content=sent, headers={"Content-Type": "application/x-tar"})
            job = wait_for_accepted(http, answer)
            assert job["state"] == "failed"
            assert job["problem"]["type"] == "/problems/damaged-snapshot"
        assert_problem(http.get("/v1/galleries/new"), 404, "unknown-gallery")
        json_sent = http.post("/v1/galleries/new/restore", json={"gallery": "objects", "snapshot": "20200101T000000Z"})
        assert_problem(json_sent, 404, "unknown-snapshot")
        assert_problem(http.post("/v1/galleries/new/restore", content=b"x"), 415, "unsupported-media")
        outside = http.post("/v1/galleries/new/restore", json={"gallery": "objects", "snapshot": "../../lock"})
        assert_problem(outside, 422, "validation")
        assert_problem(http.get(f"{OBJECTS}/snapshots/..%2F..%2Flock"), 404, "unknown-snapshot")
    assert [path.name for path in (data / "galleries").glob("[!.]*")] == ["objects"]
    assert list((data / "jobs").iterdir()) == []


@pytest.mark.slow
def test_the_command_line_does_it_all_on_a_server_and_without_one(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "objects.tar"

    def snapshot(*arguments: str | Path) -> str:
        done = call_askew("snapshot", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with RunningServer(data, "--gallery", "objects") as server:
        served = ["--server", server.url]
        made = json.loads(snapshot("create", *served, "--gallery", "objects", "--json"))
        assert made["name"] in snapshot("list", *served, "--gallery", "objects")
        assert "is whole" in snapshot("verify", made["name"], *served, "--gallery", "objects")
        snapshot("download", made["name"], path, *served, "--gallery", "objects")
        assert "49 items" in snapshot("restore", path, *served, "--gallery", "sent")
        assert "49 items" in snapshot("restore", made["name"], "--from", "objects", *served, "--gallery", "copied")
        in_use = call_askew("snapshot", "list", "--data", data, "--gallery", "objects")
        assert in_use.returncode == 1
        assert "in use by askew serve" in in_use.stderr
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made["sha256"]
    alone = run_askew("snapshot", "verify", path)
    assert (alone.returncode, "49 items" in alone.stdout) == (0, True), alone.stderr
    local: list[str | Path] = ["--data", data]
    other = json.loads(snapshot("create", *local, "--gallery", "objects", "--json"))
    assert "is whole" in snapshot("verify", other["name"], *local, "--gallery", "objects")
    snapshot("download", other["name"], tmp_path / "other.tar", *local, "--gallery", "objects")
    assert "49 items" in snapshot(
        "restore", tmp_path / "other.tar", "--data", tmp_path / "elsewhere", "--gallery", "objects"
    )
    snapshot("delete", made["name"], "--yes", *local, "--gallery", "objects")
    assert made["name"] not in snapshot("list", *local, "--gallery", "objects")

    path.write_bytes(path.read_bytes()[:-600])
    bad = call_askew("snapshot", "verify", path)
    assert bad.returncode == 1
    assert "not a complete snapshot" in bad.stderr
    taken = call_askew("snapshot", "restore", tmp_path / "other.tar", *local, "--gallery", "objects")
    assert taken.returncode == 1
    assert "There is a gallery 'objects' already" in taken.stderr


def test_a_snapshot_that_is_cancelled_or_killed_leaves_nothing(data: Path) -> None:
    folder = data / "galleries" / "objects"

    def stop(done: int, _: int) -> None:
        raise InterruptedError(str(done))

    snapshots = Snapshots("objects", folder)
    with pytest.raises(InterruptedError):
        snapshots.create(stop)
    assert list((folder / "snapshots").iterdir()) == []
    (folder / "snapshots" / ".making-left").mkdir()
    snapshots.remove_unfinished()
    assert list((folder / "snapshots").iterdir()) == []


def _nowhere(done: int, total: int) -> None:
    assert 0 <= done <= max(total, done)


class Restoring:
    """Galleries of an empty DATA directory, and what is in it."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.galleries = Catalog(data, owner="a test")
        self.galleries.load()

    def folders_on_disk(self) -> list[str]:
        return [path.relative_to(self._data).as_posix() for path in (self._data / "galleries").rglob("*")]


@pytest.fixture
def restoring(tmp_path: Path) -> Iterator[Restoring]:
    found = Restoring(tmp_path / "restored")
    yield found
    found.galleries.close()


def test_a_crash_while_a_damaged_gallery_is_replaced_loses_nothing(tmp_path: Path, archive: Path) -> None:
    """A restore renames two folders. After either rename, the next start has a gallery of that name."""
    data = tmp_path / "data"
    first = Restoring(data)
    restore_gallery(first.galleries, "objects", archive, _nowhere, lambda: None)
    first.galleries.close()
    folder = data / "galleries"
    aside = folder / ".replaced-objects-0123abcd"
    (folder / "objects").rename(aside)
    (folder / ".new-objects-4567cdef").mkdir()
    second = Restoring(data)
    assert second.galleries.names() == ["objects"]
    second.galleries.close()
    assert [path.name for path in folder.glob("[!.]*")] == ["objects"]
    shutil.copytree(folder / "objects", aside)
    third = Restoring(data)
    assert third.galleries.names() == ["objects"]
    third.galleries.close()
    assert [path.name for path in folder.glob("[!.]*")] == ["objects"]


def test_a_restore_that_is_run_again_after_a_crash_is_done(data: Path, archive: Path, tmp_path: Path) -> None:
    galleries = Catalog(data, owner="a test")
    galleries.load()
    folder = tmp_path / "job"
    folder.mkdir()
    shutil.copy(archive, folder / "snapshot.tar")
    task = Task("job", "again", {}, folder)
    job = RestoreJob(galleries)
    results = [job.run(task, lambda *_: None, lambda: False) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0].items == 49
    with pytest.raises(JobStopped):
        SnapshotJob(galleries).run(Task("other", "objects", {}, folder), lambda *_: None, lambda: True)
    galleries.close()
    assert list((data / "galleries" / "objects" / "snapshots").iterdir()) == []


def test_photos_that_come_and_go_between_the_steps_of_a_snapshot_are_in_it(data: Path, tmp_path: Path) -> None:
    """A photo is added after the files were linked, and replaced as soon as the moment is fixed."""
    folder = data / "galleries" / "objects"
    content = next((folder / "photos").glob("*/*.jpg")).read_bytes()
    store = SqliteItemStore(folder)
    written: list[bytes] = []

    def put() -> None:
        written.append(content + str(len(written)).encode())
        store.upsert(ItemBatch.of([StoredItem("pictured", unit_vector(1), {}, (written[-1], ".jpg"))]))

    def link_in_between(source: Path, target: Path, names: Iterable[str]) -> None:
        if len(written) == 1:
            # The moment is fixed and names the first photo, which is replaced before it can be linked.
            put()
        link_files(source, target, names)
        if not written:
            put()

    snapshots = Snapshots("objects", folder, link_files=link_in_between)
    snapshot = snapshots.create(_nowhere)
    store.close()
    assert len(written) == 2
    unpacked = tmp_path / "unpacked"
    read_snapshot(snapshots.path(snapshot.name), unpacked, _nowhere)
    with sqlite3.connect(unpacked / "gallery.db") as database:
        ((photo,),) = database.execute("SELECT photo FROM items WHERE id = 'pictured'").fetchall()
    database.close()
    assert (unpacked / "photos" / photo[:2] / photo).read_bytes() == written[1]
    # And no photo that the snapshot's database does not name.
    assert len(list((unpacked / "photos").glob("*/*"))) == 49 + 1
