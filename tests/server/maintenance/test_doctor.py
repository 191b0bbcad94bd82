"""`askew doctor`: names each damaged file and what to do about it, and makes only repairs that lose nothing."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.maintenance.doctor import Diagnosis, examine_data
from askew_server.maintenance.examination import examine_gallery
from askew_server.maintenance.snapshots import Snapshots
from askew_server.storage.items import StoredItem
from askew_server.storage.write_ahead_log import examine_log
from tests.support.gallery_files import item_json, stored_items, unit_vector, write_gallery
from tests.support.in_process_cli import call_askew
from tests.support.paths import MADE_AT_0_1
from tests.support.running_server import RunningServer

ITEMS = "/v1/galleries/objects/items"


def _damage(diagnosis: Diagnosis) -> list[str]:
    return [f"{finding.file.name}: {finding.what}" for finding, _ in diagnosis.findings if finding.is_damage]


def _notes(diagnosis: Diagnosis) -> set[str]:
    return {finding.file.name for finding, _ in diagnosis.findings if not finding.is_damage}


def test_an_intact_directory_is_in_order(data: Path) -> None:
    Snapshots("objects", data / "galleries" / "objects").create(lambda *_: None)
    done = call_askew("doctor", "--data", data)
    assert done.returncode == 0, done.stdout
    assert "Everything is in order." in done.stdout
    assert "gallery 'objects': 49 items" in done.stdout
    report = json.loads(call_askew("doctor", "--data", data, "--json").stdout)
    assert report["is_well"]
    assert report["galleries"] == {"objects": 49}
    assert [finding for finding in report["findings"] if finding["is_damage"]] == []
    assert report["free_bytes"] > 0


def test_a_directory_in_use_or_missing_is_a_sentence(data: Path, tmp_path: Path) -> None:
    with RunningServer(data, "--gallery", "objects"):
        in_use = call_askew("doctor", "--data", data)
    assert in_use.returncode == 1
    assert "is in use" in in_use.stderr
    missing = call_askew("doctor", "--data", tmp_path / "nowhere")
    assert missing.returncode == 1
    assert "nowhere" in missing.stderr


def test_superfluous_files_are_not_damage_and_are_removed(data: Path) -> None:
    folder = data / "galleries" / "objects"
    orphans = [
        folder / "photos" / "ab" / f"{'ab' * 32}.jpg",
        folder / "photos" / "ab" / ".left.part",
        folder / "encoders" / f"{'cd' * 32}.onnx",
        folder / "snapshots" / "20200101T000000Z.tar",
        folder / "something.part",
    ]
    for path in orphans:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left")
    (folder / "snapshots" / ".making-abc").mkdir()
    (folder / "notes.txt").write_text("mine")
    (data / "galleries" / "Not A Name").mkdir()
    before = stored_items(data)
    looked = examine_data(data, repair=False)
    assert looked.is_well
    expected = {path.name for path in orphans} | {".making-abc", "notes.txt", "Not A Name"}
    assert _notes(looked) == expected
    assert all(path.exists() for path in orphans)

    repaired = examine_data(data, repair=True)
    assert repaired.is_well
    assert not any(path.exists() for path in orphans)
    assert not (folder / "snapshots" / ".making-abc").exists()
    # What Askew did not make it does not remove.
    assert (folder / "notes.txt").read_text() == "mine"
    assert stored_items(data) == before


@pytest.mark.parametrize("lost", ["flipped", "missing"])
def test_an_item_whose_photo_is_lost_continues_without_one(data: Path, lost: str) -> None:
    folder = data / "galleries" / "objects"
    photo = sorted((folder / "photos").glob("*/*.jpg"))[3]
    content = photo.read_bytes()
    if lost == "missing":
        photo.unlink()
    else:
        photo.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = call_askew("doctor", "--data", data)
    assert done.returncode == 1
    assert f"damage: {photo}:" in done.stdout
    repaired = call_askew("doctor", "--data", data, "--repair")
    assert repaired.returncode == 0, repaired.stdout
    assert f"repaired: {photo}:" in repaired.stdout
    assert (folder / "damaged" / "photos" / photo.name).exists() == (lost == "flipped")
    assert call_askew("doctor", "--data", data).returncode == 0
    listed = stored_items(data)
    assert len(listed) == 49
    assert sum(item.photo is None for item in listed.values()) == 1


def test_a_damaged_encoder_file_is_named(data: Path) -> None:
    (encoder,) = (data / "galleries" / "objects" / "encoders").glob("*.onnx")
    content = encoder.read_bytes()
    encoder.write_bytes(content[:500] + bytes([content[500] ^ 8]) + content[501:])
    done = call_askew("doctor", "--data", data, "--repair")
    assert done.returncode == 1
    assert str(encoder) in done.stdout
    assert "teacher@1" in done.stdout
    encoder.unlink()
    assert str(encoder) in call_askew("doctor", "--data", data).stdout


@pytest.mark.slow
def test_a_damaged_index_is_removed_because_it_is_rebuilt(tmp_path: Path) -> None:
    """By the saved two-stage index of a gallery that Askew 0.1 made."""
    with tarfile.open(MADE_AT_0_1 / "data.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    data = tmp_path / "data"
    folder = data / "galleries" / "many" / "index"
    files = sorted(folder.glob("main-*/*"))
    assert len(files) == 3
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        (finding,) = [each for each in examine_gallery("many", folder.parent) if each.is_damage]
        assert path.name in finding.what
        assert finding.file == folder
        path.write_bytes(content)
    assert examine_gallery("many", folder.parent) == []
    files[0].write_bytes(files[0].read_bytes()[:-1])
    assert examine_data(data, repair=True).is_well
    assert not folder.exists()
    assert len(stored_items(data, "many")) == 1_202


def _rows(database: Path, sql: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(sql)
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE vectors SET vector = zeroblob(128) WHERE label = 5", "vector of label 5"),
        ("UPDATE vectors SET vector = x'00' WHERE label = 5", "vector of label 5"),
        ("UPDATE vectors SET vector = CAST(x'007e' || substr(vector, 3) AS BLOB) WHERE label = 5", "vector of label 5"),
        ("DELETE FROM vectors WHERE label = 5", "(label 5)"),
        ("UPDATE items SET payload = '{' WHERE label = 5", "(label 5)"),
        ("UPDATE items SET id = 'other' WHERE label = 5", "(label 5)"),
    ],
)
def test_a_damaged_item_is_left_out_by_a_repair_and_the_others_are_saved(data: Path, sql: str, words: str) -> None:
    before = stored_items(data)
    path = data / "galleries" / "objects" / "gallery.db"
    _rows(path, sql)
    looked = examine_data(data, repair=False)
    (damage,) = _damage(looked)
    assert words in damage
    repaired = examine_data(data, repair=True)
    assert repaired.is_well, repaired.findings
    after = stored_items(data)
    assert len(after) == 48
    assert all(before[item] == found for item, found in after.items())
    assert (path.parent / "damaged" / "before-repair" / "gallery.db").is_file()


@pytest.mark.slow
def test_what_is_readable_of_a_torn_database_is_saved(data: Path, teacher_file: Path) -> None:
    """Pages in the middle are overwritten: items on them are lost, all others are as they were."""
    # More items, so that there are many pages.
    more = [StoredItem(f"more-{n}", unit_vector(n), {"n": n, "text": "x" * 200}) for n in range(2_000)]
    write_gallery(data, "objects", teacher_file, more)
    before = stored_items(data)
    path = data / "galleries" / "objects" / "gallery.db"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = os.urandom(3 * 4096)
    path.write_bytes(content)

    with closing(Catalog(data, owner="a test")) as galleries:
        galleries.load()
        with pytest.raises(Refusal, match="askew doctor") as refused:
            galleries.get("objects")
        assert refused.value.kind is ProblemKind.DAMAGED_GALLERY
    assert call_askew("doctor", "--data", data).returncode == 1
    repaired = call_askew("doctor", "--data", data, "--repair")
    assert repaired.returncode == 0, repaired.stdout
    after = stored_items(data)
    assert 1_500 < len(after) < len(before)
    assert all(before[item] == found for item, found in after.items())
    with RunningServer(data, "--gallery", "objects") as server:
        space = server.http.get("/v1/galleries/objects").json()["space"]
        for item in list(after)[::300]:
            vector = after[item].vector
            assert isinstance(vector, bytes)
            query = {"vector": base64.b64encode(vector).decode(), "dtype": "f16le", "space": space, "limit": 1}
            assert server.http.post("/search", json=query).json()["hits"][0]["id"] == item
        put = {"space": space, "items": [item_json("fresh", -1)]}
        assert server.http.put(ITEMS, json=put).status_code == 200


def test_the_teacher_of_a_database_without_facts_is_taken_from_its_file(data: Path) -> None:
    before = stored_items(data)
    folder = data / "galleries" / "objects"
    _rows(folder / "gallery.db", "DELETE FROM facts")
    assert examine_data(data, repair=True).is_well
    assert stored_items(data) == before
    _rows(folder / "gallery.db", "DELETE FROM facts")
    shutil.rmtree(folder / "encoders")
    hopeless = call_askew("doctor", "--data", data, "--repair")
    assert hopeless.returncode == 1
    assert "Damage remains" in hopeless.stdout


@pytest.mark.parametrize("damage", ["no database", "flipped"])
def test_a_damaged_database_of_the_server_is_named(data: Path, damage: str) -> None:
    path = data / "askew.db"
    content = path.read_bytes() if path.exists() else bytes(8192)
    path.write_bytes(b"x" * 4096 if damage == "no database" else content[:100] + os.urandom(900) + content[1000:])
    done = call_askew("doctor", "--data", data)
    assert done.returncode == 1
    assert f"damage: {path}:" in done.stdout
    assert "keys, aliases and jobs" in done.stdout


def test_an_alias_without_its_gallery_is_named(data: Path, teacher_file: Path) -> None:
    write_gallery(data, "objects", teacher_file, aliases=["museum"])
    (data / "galleries" / "objects").rename(data / "galleries" / "moved")
    assert any("'museum'" in each and "'objects'" in each for each in _damage(examine_data(data, repair=False)))


@pytest.mark.slow
def test_a_damaged_offline_pack_is_removed_because_it_is_made_again(data: Path) -> None:
    assert call_askew("gallery", "pack", "objects", "--fields", "kind", "--data", data).returncode == 0
    assert call_askew("gallery", "pack", "objects", "--data", data).returncode == 0
    assert _damage(examine_data(data, repair=False)) == []
    offline = data / "galleries" / "objects" / "offline"
    # The file before the last one is kept, and is nothing to report.
    assert len(list(offline.glob("*.pack"))) == 2
    assert not _notes(examine_data(data, repair=False))
    (served,) = [path for path in offline.glob("*.pack") if path.stem == _served(offline)]
    served.write_bytes(served.read_bytes()[:-1] + b"?")
    (offline / "building-x").mkdir()
    assert _damage(examine_data(data, repair=False)) == [
        f"{served.name}: The offline pack is damaged: its bytes do not have its SHA-256."
    ]
    assert examine_data(data, repair=True).is_well
    assert not served.exists()
    assert not (offline / "building-x").exists()
    assert call_askew("gallery", "pack", "objects", "--data", data).returncode == 0
    assert _damage(examine_data(data, repair=False)) == []


def _served(offline: Path) -> str:
    return str(json.loads((offline / "pack.json").read_bytes())["sha256"])


def test_a_damaged_snapshot_is_named(data: Path) -> None:
    folder = data / "galleries" / "objects"
    snapshots = Snapshots("objects", folder)
    path = snapshots.path(snapshots.create(lambda *_: None).name)
    content = path.read_bytes()
    path.write_bytes(content[:9_000] + bytes([content[9_000] ^ 1]) + content[9_001:])
    (damage,) = _damage(examine_data(data, repair=False))
    assert damage.startswith(path.name)


def _with_log(folder: Path) -> Path:
    """A database with 40 transactions in its log, as kill -9 leaves it; it is not open anywhere."""
    source = folder / "source.db"
    database = sqlite3.connect(source, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE rows (content BLOB)")
    for _ in range(40):
        database.execute("INSERT INTO rows VALUES (?)", (os.urandom(3_000),))
    path = folder / "gallery.db"
    shutil.copy(source, path)
    shutil.copy(f"{source}-wal", f"{path}-wal")
    database.close()
    return path


def _flip(position: Callable[[int], int]) -> Callable[[bytearray], bytearray]:
    def change(log: bytearray) -> bytearray:
        log[position(len(log))] ^= 1
        return log

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "loses"),
    [
        (_flip(lambda length: 0), True),
        (_flip(lambda length: 3), True),
        (_flip(lambda length: 10), True),
        (_flip(lambda length: 17), True),
        (_flip(lambda length: 30), True),
        (_flip(lambda length: 32 + 2), True),
        (_flip(lambda length: 32 + 9), True),
        (_flip(lambda length: 32 + 20), True),
        (_flip(lambda length: length // 2), True),
        (_flip(lambda length: length - 6 * 4_120), True),
        (_flip(lambda length: length - 5), False),
        (lambda log: log[:-5], None),
        (lambda log: log[: len(log) // 2], None),
        (lambda log: log[:20], None),
        (lambda log: log[:0], None),
        (lambda log: log, None),
    ],
)
def test_a_flipped_bit_in_the_middle_of_the_log_is_distinguished_from_a_torn_end(
    tmp_path: Path, change: Callable[[bytearray], bytearray], loses: bool | None
) -> None:
    path = _with_log(tmp_path)
    log = path.with_name("gallery.db-wal")
    log.write_bytes(change(bytearray(log.read_bytes())))
    damage = examine_log(path)
    if loses is None:
        assert damage is None
    else:
        assert damage is not None
        assert damage.loses_acknowledged == loses


def test_a_log_that_overwrites_an_older_one_is_intact(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "gallery.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE rows (content BLOB)")
    for _ in range(30):
        database.execute("INSERT INTO rows VALUES (?)", (os.urandom(3_000),))
    database.execute("PRAGMA wal_checkpoint(RESTART)")
    for count in range(5):
        database.execute("INSERT INTO rows VALUES (?)", (os.urandom(3_000),))
        assert examine_log(tmp_path / "gallery.db") is None, count
    database.close()


def test_damage_in_a_large_gallery_is_found_while_it_serves(data: Path) -> None:
    """A gallery that is too large to be checked before it is opened is checked afterwards, and set aside."""
    path = data / "galleries" / "objects" / "gallery.db"
    shutil.copytree(path.parent, data / "galleries" / "whole")
    path.write_bytes(path.read_bytes().replace(b'"kind":"object"', b'"kind":"objecu"', 1))
    galleries = Catalog(data, owner="a test", largest_checked=0)
    galleries.load()
    try:
        deadline = time.monotonic() + 120
        while "objects" in galleries.names():
            assert time.monotonic() < deadline, "the damage was not found"
            time.sleep(0.01)
        assert galleries.names() == ["whole"]
        assert "does not match its checksum" in galleries.damaged()["objects"]
        with pytest.raises(Refusal, match="askew doctor"):
            galleries.get("objects")
    finally:
        galleries.close()


def test_a_snapshot_whose_file_is_missing_is_named_and_not_left_out(data: Path) -> None:
    folder = data / "galleries" / "objects"
    snapshots = Snapshots("objects", folder)
    made = snapshots.create(lambda done, total: None)
    (folder / "snapshots" / f"{made.name}.tar").unlink()
    assert snapshots.list() == [made]
    with pytest.raises(Refusal, match="missing") as refused:
        snapshots.path(made.name)
    assert refused.value.kind is ProblemKind.DAMAGED_SNAPSHOT
    assert _damage(examine_data(data, repair=False)) == [f"{made.name}.tar: The file of the snapshot is missing."]
    snapshots.delete(made.name)
    assert examine_data(data, repair=False).is_well


def test_a_probe_or_an_encoder_whose_file_is_missing_is_named_and_not_left_out(data: Path, photos: list[Path]) -> None:
    folder = data / "galleries" / "objects"
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        gallery = catalog.get("objects")
        gallery.run(lambda each: each.probes.put("one", unit_vector(1), photos[0].read_bytes(), ".jpg"))
        next((folder / "probes").iterdir()).unlink()
        with pytest.raises(Refusal, match="probes of gallery 'objects' are missing"):
            gallery.run(lambda each: each.probes.all())
        next((folder / "encoders").iterdir()).unlink()
        for ask in (gallery.encoders.facts.require_teacher_file, lambda: gallery.encoders.facts.file("teacher@1")):
            with pytest.raises(Refusal, match="missing from the server's disk") as refused:
                ask()
            assert refused.value.kind is ProblemKind.DAMAGED_GALLERY
    assert len(_damage(examine_data(data, repair=False))) == 2


def test_rows_of_a_database_that_was_changed_by_hand_are_saved_by_a_repair(data: Path) -> None:
    _rows(data / "galleries" / "objects" / "gallery.db", "CREATE UNIQUE INDEX uy ON items((1)) WHERE label > 500")
    (what,) = _damage(examine_data(data, repair=False))
    assert "'uy' is none that Askew makes" in what
    repaired = examine_data(data, repair=True)
    assert (repaired.is_well, repaired.galleries) == (True, {"objects": 49})
    assert examine_data(data, repair=False).is_well
