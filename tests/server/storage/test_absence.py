"""What is missing from DATA is missed: a log, a database, keys, a gallery's folder. What was moved on purpose is not."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from askew_client.contract.keys import CreateKeyRequest
from askew_client.errors import AskewError
from askew_server.auth.keys import KeyStore
from askew_server.errors import DamagedGallery
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.maintenance.doctor import Diagnosis, examine_data
from askew_server.storage.commit_mark import CommitMark
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.gallery_files import unit_vector, write_gallery

Change = Callable[[Path], object]


@pytest.fixture
def crashed(tmp_path: Path, teacher_file: Path) -> Path:
    """DATA as kill -9 leaves it: the gallery `default` with 30 items, 20 of them in its log alone, and a key."""
    running, data = tmp_path / "running", tmp_path / "data"
    write_gallery(running, "default", teacher_file, [_item(seed) for seed in range(10)])
    catalog = Catalog(running, owner="a test")
    catalog.load()
    keys = KeyStore(running)
    keys.create(CreateKeyRequest(name="me", scopes=["admin"]))
    gallery = catalog.get("default")
    for seed in range(10, 30):
        gallery.run(lambda each, seed=seed: each.upsert(ItemBatch.of([_item(seed)])))  # type: ignore[misc]
    shutil.copytree(running, data)
    keys.close()
    catalog.close()
    return data


def _item(seed: int) -> StoredItem:
    return StoredItem(f"item-{seed}", unit_vector(seed), {"seed": seed})


def _items(data: Path, gallery: str = "default") -> int:
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        return catalog.describe(gallery).items


def _damaged(data: Path) -> dict[str, str]:
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        return catalog.damaged()


def _damage(data: Path, **options: bool) -> list[str]:
    diagnosis: Diagnosis = examine_data(data, **{"repair": False, **options})
    return [finding.what for finding, done in diagnosis.findings if finding.is_damage and done is None]


def _guarded(data: Path) -> bool:
    with closing(KeyStore(data)) as keys:
        return keys.guarded


def test_a_crash_alone_is_no_damage(crashed: Path) -> None:
    assert _damage(crashed) == []
    assert _items(crashed) == 30
    assert _guarded(crashed)


GALLERY = "galleries/default"


def _truncate(file: str, share: float) -> Change:
    def change(data: Path) -> None:
        content = (data / file).read_bytes()
        (data / file).write_bytes(content[: int(len(content) * share)])

    return change


def _remove(data: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in list(data.glob(pattern)):
            path.unlink()


def _only_databases(data: Path) -> None:
    """A backup that took *.db alone, with photos and encoders."""
    for path in data.rglob("*"):
        if path.is_file() and path.name.startswith("gallery.db-"):
            path.unlink()


LOST: dict[str, Change] = {
    "no log": lambda data: (data / GALLERY / "gallery.db-wal").unlink(),
    "no log and no shared memory": lambda data: _remove(data, f"{GALLERY}/gallery.db-[ws]*"),
    "an empty log": _truncate(f"{GALLERY}/gallery.db-wal", 0),
    "half of the log": _truncate(f"{GALLERY}/gallery.db-wal", 0.5),
    "most of the log": _truncate(f"{GALLERY}/gallery.db-wal", 0.9),
    "the databases alone": _only_databases,
}


@pytest.mark.parametrize("loss", LOST)
def test_a_gallery_that_lacks_acknowledged_writes_is_set_aside_until_that_is_accepted(crashed: Path, loss: str) -> None:
    LOST[loss](crashed)
    assert any("writes" in what or "log" in what for what in _damage(crashed)), _damage(crashed)
    assert list(_damaged(crashed)) == ["default"]
    assert "--accept-loss" in _damaged(crashed)["default"]
    assert _damage(crashed, accept_loss=True) == []
    assert 10 <= _items(crashed) < 30


def test_a_log_of_another_database_is_noticed(crashed: Path) -> None:
    shutil.copy(crashed / "askew.db-wal", crashed / GALLERY / "gallery.db-wal")
    assert list(_damaged(crashed)) == ["default"]
    assert _damage(crashed)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_log_that_ends_anywhere_before_the_last_commit_is_noticed(crashed: Path, share: float) -> None:
    _truncate(f"{GALLERY}/gallery.db-wal", share)(crashed)
    assert list(_damaged(crashed)) == ["default"]


def test_an_older_copy_of_a_database_is_noticed(crashed: Path, tmp_path: Path) -> None:
    assert _items(crashed) == 30
    shutil.copy(crashed / GALLERY / "gallery.db", tmp_path / "old.db")
    with closing(Catalog(crashed, owner="a test")) as catalog:
        catalog.load()
        catalog.get("default").run(lambda gallery: gallery.upsert(ItemBatch.of([_item(99)])))
    shutil.copy(tmp_path / "old.db", crashed / GALLERY / "gallery.db")
    assert "older copy" in _damaged(crashed)["default"]
    assert _damage(crashed, accept_loss=True) == []
    assert _items(crashed) == 30


def test_writes_of_every_kind_are_counted(crashed: Path) -> None:
    """Not only items: a copy from before any of these is an older copy."""
    with closing(Catalog(crashed, owner="a test")) as catalog:
        catalog.load()
        gallery = catalog.get("default")
        before = shutil.copytree(crashed / GALLERY, crashed.parent / "before")
        (before / "gallery.db-wal").unlink(missing_ok=True)
        gallery.run(lambda each: each.probes.put("probe", unit_vector(3), b"photo", ".jpg"))
        gallery.run(lambda each: each.store.set_fact("index_kind", "exact"))
        catalog.set_alias("live", "default")
    assert _commits(crashed / GALLERY / "gallery.db-commits") >= 2 + _commits(before / "gallery.db-commits")
    assert _commits(crashed / "record" / "askew.db-commits") > 1


def _commits(path: Path) -> int:
    found = CommitMark(path).read()
    assert found is not None
    return found


def _damage_record(data: Path) -> None:
    (data / "askew.db").unlink()
    (data / "record" / "keys.json").write_bytes(b"?")
    (data / "galleries" / ".record" / "keys.json").write_bytes(b"")


SERVER: dict[str, Change] = {
    "no askew.db": lambda data: (data / "askew.db").unlink(),
    "nothing of askew.db": lambda data: _remove(data, "askew.db*"),
    "nothing of askew.db nor of the record": lambda data: _remove(data, "askew.db*", "record/*"),
    "an empty askew.db": lambda data: (data / "askew.db").write_bytes(b""),
    "no askew.db, and a damaged record": _damage_record,
}


@pytest.mark.parametrize("loss", SERVER)
def test_a_data_that_had_keys_is_not_served_without_them(crashed: Path, loss: str) -> None:
    SERVER[loss](crashed)
    with pytest.raises(AskewError, match="--accept-loss"):
        Catalog(crashed, owner="a test")
    with pytest.raises(AskewError, match=r"askew\.db cannot be used"):
        KeyStore(crashed)
    assert any("database cannot be used" in what for what in _damage(crashed))
    # Accepting the loss lets nobody in.
    examine_data(crashed, repair=False, accept_loss=True)
    assert _guarded(crashed)
    assert _items(crashed) == 30
    with closing(KeyStore(crashed)) as keys:
        created = keys.create(CreateKeyRequest(name="again", scopes=["admin"]))
        assert keys.find(created.key)
    assert _damage(crashed) == []


def test_an_askew_db_without_its_keys_lets_nobody_in(crashed: Path) -> None:
    with closing(sqlite3.connect(crashed / "askew.db")) as database, database:
        database.execute("DELETE FROM keys")
    assert _guarded(crashed)
    assert any("There were keys" in what for what in _damage(crashed))


def test_the_log_of_askew_db_may_not_be_lost_either(crashed: Path) -> None:
    """A key is in the file itself; an alias is in the log until the file takes it over."""
    running = crashed.parent / "second"
    shutil.copytree(crashed, running)
    catalog = Catalog(running, owner="a test")
    catalog.load()
    catalog.set_alias("live", "default")
    copy = shutil.copytree(running, crashed.parent / "copy")
    catalog.close()
    (copy / "askew.db-wal").unlink()
    with pytest.raises(AskewError, match=r"acknowledged changes.*askew\.db-wal"):
        Catalog(copy, owner="a test")
    examine_data(copy, repair=False, accept_loss=True)
    assert _guarded(copy)
    assert list((copy / "record").glob("before-acceptance*"))


def test_the_first_key_is_in_a_copy_of_askew_db_alone(tmp_path: Path) -> None:
    with closing(Catalog(tmp_path / "data", owner="a test")), closing(KeyStore(tmp_path / "data")) as keys:
        created = keys.create(CreateKeyRequest(name="me", scopes=["admin"]))
        (tmp_path / "copy").mkdir()
        shutil.copy(tmp_path / "data" / "askew.db", tmp_path / "copy" / "askew.db")
    with closing(KeyStore(tmp_path / "copy")) as keys:
        assert keys.find(created.key)


def test_a_server_that_never_had_anything_may_lose_its_askew_db(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with closing(Catalog(data, owner="a test")):
        assert not _guarded(data)
    for path in data.glob("askew.db*"):
        path.unlink()
    with closing(Catalog(data, owner="a test")):
        assert not _guarded(data)


def test_a_gallery_that_is_gone_is_missed_until_it_is_deleted(crashed: Path) -> None:
    folder = crashed / GALLERY
    folder.rename(crashed.parent / "elsewhere")
    for _ in range(2):
        assert "never deleted" in _damaged(crashed)["default"]
    assert _damage(crashed) == ["The gallery's folder is missing."]
    with closing(Catalog(crashed, owner="a test")) as catalog:
        catalog.load()
        assert catalog.delete("default") == "default"
        assert catalog.damaged() == {}
    assert (_damaged(crashed), _damage(crashed)) == ({}, [])
    (crashed.parent / "elsewhere").rename(folder)
    assert _items(crashed) == 30


def test_a_disk_of_galleries_that_is_not_mounted_is_missed(crashed: Path) -> None:
    shutil.rmtree(crashed / "galleries")
    (crashed / "galleries").mkdir()
    assert list(_damaged(crashed)) == ["default"]
    assert _guarded(crashed)
    assert _damage(crashed, accept_loss=True) == []
    assert _damaged(crashed) == {}


def test_a_lost_record_is_taken_from_its_copy(crashed: Path) -> None:
    assert _items(crashed) == 30
    shutil.rmtree(crashed / "record")
    assert _items(crashed) == 30
    shutil.rmtree(crashed / "galleries" / ".record")
    shutil.rmtree(crashed / GALLERY)
    assert list(_damaged(crashed)) == ["default"]


def _rename(data: Path) -> Path:
    (data / GALLERY).rename(data / "galleries" / "other")
    return data


def _copy(data: Path) -> Path:
    shutil.copytree(data, data.parent / "copy")
    return data.parent / "copy"


def _copy_of_gallery(data: Path) -> Path:
    shutil.copytree(data / GALLERY, data / "galleries" / "other")
    return data


def _back_up(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(target)) as copy:
        database.backup(copy)


def _backed_up(data: Path) -> Path:
    """A DATA of `.backup` copies, made while the server was writing: no log and no record."""
    made = data.parent / "copy"
    for name in ("askew.db", f"{GALLERY}/gallery.db"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        _back_up(data / name, made / name)
    for folder in ("photos", "probes", "encoders"):
        shutil.copytree(data / GALLERY / folder, made / GALLERY / folder)
    return made


def _backed_up_in_place(data: Path) -> Path:
    """`.backup` of the newest state, put back over the files."""
    for name in ("askew.db", f"{GALLERY}/gallery.db"):
        copy = data.parent / "copy.db"
        copy.unlink(missing_ok=True)
        _back_up(data / name, copy)
        for path in (data / name).parent.glob(f"{(data / name).name}-[ws]*"):
            path.unlink()
        copy.rename(data / name)
    return data


def _of_an_older_askew(data: Path) -> Path:
    """No record, no counts: what today's release leaves."""
    for path in [*data.rglob("*-commits"), *data.rglob("*record/*.json")]:
        path.unlink()
    for name in ("askew.db", f"{GALLERY}/gallery.db"):
        with closing(sqlite3.connect(data / name)) as database, database:
            database.execute("DELETE FROM facts WHERE key IN ('commits', 'in_use')")
    with closing(sqlite3.connect(data / "askew.db")) as database, database:
        database.execute("DROP TABLE facts")
    return data


def _looked_into(data: Path) -> Path:
    """`sqlite3 gallery.db` after a crash: it takes the log over into the file and removes it."""
    for name in ("askew.db", f"{GALLERY}/gallery.db"):
        with closing(sqlite3.connect(data / name)) as database:
            database.execute("SELECT count(*) FROM facts").fetchall()
        assert not (data / f"{name}-wal").exists()
    return data


MOVED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a renamed folder": (_rename, "other"),
    "a copy of DATA": (_copy, "default"),
    "a copy of a gallery": (_copy_of_gallery, "other"),
    "copies by .backup": (_backed_up, "default"),
    "copies by .backup, put back": (_backed_up_in_place, "default"),
    "DATA of an older Askew": (_of_an_older_askew, "default"),
    "a look with sqlite3": (_looked_into, "default"),
}


@pytest.mark.parametrize("way", MOVED)
def test_what_was_moved_on_purpose_opens(crashed: Path, way: str) -> None:
    move, name = MOVED[way]
    data = move(crashed)
    for _ in range(2):
        assert _damaged(data) == {}
        assert _items(data, name) == 30
        assert _guarded(data)
        assert _damage(data) == []
    assert (data / "record" / "galleries.json").exists()


def test_a_large_gallery_is_checked_for_missing_writes_before_it_is_opened(crashed: Path) -> None:
    (crashed / GALLERY / "gallery.db-wal").unlink()
    with pytest.raises(DamagedGallery, match="acknowledged commits"):
        Gallery.open(crashed / GALLERY, largest_checked=0)


def test_a_record_that_takes_no_writes_leaves_no_key(crashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    data = crashed.parent / "new"
    data.mkdir()
    with closing(KeyStore(data)) as keys:
        monkeypatch.setattr("askew_server.storage.data_record.write_atomically", fail)
        with pytest.raises(OSError, match="No space"):
            keys.create(CreateKeyRequest(name="me", scopes=["admin"]))
        assert (keys.guarded, keys.describe_all()) == (False, [])
    monkeypatch.undo()
    assert not _guarded(data)
