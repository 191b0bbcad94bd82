"""A snapshot whose database Askew would not have made is refused, and changes nothing: not a list of what is bad."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew_client.contract.problems import ProblemKind
from askew_client.encoding.encoder import Encoder
from askew_server.errors import DamagedGallery, Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.maintenance.restore import restore_gallery
from askew_server.maintenance.snapshots import Snapshots
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.gallery_files import described, unit_vector, write_gallery

Alter = Callable[[sqlite3.Connection], object]


@pytest.fixture(scope="module")
def good(teacher_file: Path, photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a gallery with 12 photos, 30 items without one, a probe and its teacher's file."""
    data = tmp_path_factory.mktemp("good") / "data"
    items = described(Encoder(teacher_file), photos)
    items += [StoredItem(f"item-{seed}", unit_vector(seed), {"n": seed}) for seed in range(30)]
    write_gallery(data, "objects", teacher_file, items)
    with closing(Catalog(data, owner="a test")) as galleries:
        galleries.load()
        galleries.get("objects").run(
            lambda each: each.probes.put("probe", unit_vector(1), photos[0].read_bytes(), ".jpg")
        )
    snapshots = Snapshots("objects", data / "galleries" / "objects")
    return snapshots.path(snapshots.create(lambda done, total: None).name)


def _sql(script: str) -> Alter:
    return lambda database: database.executescript(script)


def _fact(key: str, value: str) -> Alter:
    return lambda database: database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))


def _schema(change: str) -> Alter:
    """Change the schema behind SQLite's back, as no statement could."""

    def alter(database: sqlite3.Connection) -> None:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(change)
        database.execute("PRAGMA writable_schema = OFF")

    return alter


def _remade(table: str, find: str, replace: str) -> Alter:
    """The table made anew from its own SQL with a difference, and filled with its rows."""

    def alter(database: sqlite3.Connection) -> None:
        (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        assert find in sql, sql
        database.execute(f"ALTER TABLE {table} RENAME TO old")
        database.execute("DROP INDEX IF EXISTS items_by_photo")
        database.execute(sql.replace(find, replace))
        database.execute(f"INSERT INTO {table} SELECT * FROM old")
        database.execute("DROP TABLE old")
        if table == "items":
            database.execute("CREATE INDEX items_by_photo ON items (photo) WHERE photo IS NOT NULL")

    return alter


def _vector(change: Callable[[np.ndarray], np.ndarray | bytes]) -> Alter:
    """Another vector for one item, with the checksum that belongs to it."""

    def alter(database: sqlite3.Connection) -> None:
        label, content = database.execute("SELECT label, vector FROM vectors WHERE label = 5").fetchone()
        changed = change(np.frombuffer(content, dtype="<f2").copy())
        blob = changed if isinstance(changed, bytes) else changed.astype("<f2").tobytes()
        checksum = zlib.crc32(blob, zlib.crc32(str(label).encode()))
        database.execute("UPDATE vectors SET vector = ?, checksum = ? WHERE label = ?", (blob, checksum, label))

    return alter


def _item(column: str, value: object) -> Alter:
    """Another value for one item, with the checksum that belongs to it."""

    def alter(database: sqlite3.Connection) -> None:
        database.execute(f"UPDATE items SET {column} = ? WHERE label = 20", (value,))
        row = database.execute("SELECT label, id, payload, photo FROM items WHERE id IS NOT NULL").fetchall()
        for label, identity, payload, photo in row:
            checksum = zlib.crc32("\0".join([str(label), identity, payload, photo or ""]).encode("utf-8", "replace"))
            database.execute("UPDATE items SET checksum = ? WHERE label = ?", (checksum, label))

    return alter


def _relabelled(label: int) -> Alter:
    def alter(database: sqlite3.Connection) -> None:
        (content,) = database.execute("SELECT vector FROM vectors WHERE label = 20").fetchone()
        checksum = zlib.crc32(content, zlib.crc32(str(label).encode()))
        database.execute("UPDATE vectors SET label = ?, checksum = ? WHERE label = 20", (label, checksum))
        database.execute("UPDATE items SET label = ? WHERE label = 20", (label,))
        _item("id", "item-again")(database)

    return alter


SQL: dict[str, Alter] = {
    # Schema
    "unique index on a condition": _sql("CREATE UNIQUE INDEX uy ON items((1)) WHERE label > 500"),
    "index on an expression": _sql("CREATE INDEX ex ON items(json_extract(payload, '$.n'))"),
    "plain index": _sql("CREATE INDEX plain ON items (payload)"),
    "index on facts": _sql("CREATE INDEX plain ON facts (value)"),
    "partial index": _sql("CREATE INDEX part ON vectors (label) WHERE label > 5"),
    "generated column": _sql("ALTER TABLE items ADD COLUMN zz INTEGER AS (length(id))"),
    "plain column": _sql("ALTER TABLE vectors ADD COLUMN zz INTEGER"),
    "column with a default": _sql("ALTER TABLE encoders ADD COLUMN zz INTEGER DEFAULT 1"),
    "column of facts": _sql("ALTER TABLE facts ADD COLUMN zz TEXT"),
    "renamed column": _sql("ALTER TABLE items RENAME COLUMN payload TO load"),
    "trigger": _sql("CREATE TRIGGER evil AFTER INSERT ON items BEGIN DELETE FROM vectors; END"),
    "trigger on facts": _sql("CREATE TRIGGER evil BEFORE UPDATE ON facts BEGIN SELECT RAISE(ABORT, 'no'); END"),
    "view": _sql("CREATE VIEW evil AS SELECT * FROM items"),
    "view in place of a table": _sql("ALTER TABLE probes RENAME TO p; CREATE VIEW probes AS SELECT * FROM p"),
    "extra table": _sql("CREATE TABLE extra (content TEXT)"),
    "extra table without rows": _sql("CREATE TABLE sqlitex (content TEXT) STRICT"),
    "statistics": _sql("ANALYZE"),
    "sequence table": _sql("CREATE TABLE x (a INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE x"),
    "virtual table": _sql("CREATE VIRTUAL TABLE texts USING fts5(content)"),
    "table without rowid": _remade("items", ") STRICT", ") STRICT, WITHOUT ROWID"),
    "table that is not strict": _remade("items", ") STRICT", ")"),
    "facts with a rowid": _remade("facts", "STRICT, WITHOUT ROWID", "STRICT"),
    "other collation": _remade("items", "id TEXT NOT NULL UNIQUE", "id TEXT NOT NULL COLLATE NOCASE UNIQUE"),
    "check": _remade("items", "photo TEXT", "photo TEXT CHECK (label < 50)"),
    "default": _remade("items", "photo TEXT", "photo TEXT DEFAULT 'x'"),
    "foreign key": _remade("vectors", "label INTEGER PRIMARY KEY", "label INTEGER PRIMARY KEY REFERENCES items"),
    "conflict clause": _remade("items", "TEXT NOT NULL UNIQUE", "TEXT NOT NULL UNIQUE ON CONFLICT REPLACE"),
    "index of ours on another column": _sql(
        "DROP INDEX items_by_photo; CREATE INDEX items_by_photo ON items (id) WHERE photo IS NOT NULL"
    ),
    "index of ours, unique": _sql(
        "DROP INDEX items_by_photo; CREATE UNIQUE INDEX items_by_photo ON items (photo) WHERE photo IS NOT NULL"
    ),
    "index of ours on another table": _sql("DROP INDEX items_by_photo; CREATE INDEX items_by_photo ON vectors (label)"),
    "schema that was rewritten": _schema("UPDATE sqlite_master SET sql = 'CREATE TABLE x (y)' WHERE name = 'probes'"),
    "two tables in one place": _schema(
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'vectors') "
        "WHERE name = 'probes'"
    ),
    "no items": _sql("DROP TABLE items"),
    "no vectors": _sql("DROP TABLE vectors"),
    "no facts": _sql("DROP TABLE facts"),
    "user_version": _sql("PRAGMA user_version = 7"),
    "application_id": _sql("PRAGMA application_id = 7"),
    # Facts
    **{
        f"layout {value!r}": _fact("layout", value)
        for value in ("99", "1", "0", "-1", "2.0", " 2", "", "NaN", "two", "9" * 400)
    },
    **{
        f"sequence {value[:24]!r}": _fact("sequence", value)
        for value in (
            "9223372036854775807", "9223372036854775808", str(10**30), "9" * 5_000, "-1", "1", "0", "1.5", "NaN", "inf", "",
            "0x10", "1e3", "٤٢", " 99", "099", "9007199254740992", "99\n",
        )
    },
    **{f"commits {value!r}": _fact("commits", value) for value in ("-1", "x", "9" * 30)},
    **{f"dim {value!r}": _fact("dim", value) for value in ("63", "-64", "64.0", "1" + "0" * 30, "", "NaN")},
    "another space": _fact("space", "sp1-" + "0" * 32),
    "teacher that is no manifest": _fact("teacher", "{}"),
    "teacher that is no JSON": _fact("teacher", "{"),
    "teacher that is deep JSON": _fact("teacher", "[" * 100_000),
    "created at no date": _fact("created_at", "yesterday"),
    "unknown fact": _fact("evil", "1"),
    "fact that is missing": _sql("DELETE FROM facts WHERE key = 'space'"),
    "facts that are missing": _sql("DELETE FROM facts"),
    # Rows
    "shorter vector": _vector(lambda vector: vector[:-1]),
    "longer vector": _vector(lambda vector: np.append(vector, 0)),
    "half a number": _vector(lambda vector: vector.tobytes()[:-1]),
    "no vector": _vector(lambda vector: b""),
    "vector of NaN": _vector(lambda vector: vector * np.nan),
    "vector of infinity": _vector(lambda vector: vector * np.inf),
    "vector of zeros": _vector(lambda vector: vector * 0),
    "vector of length 2": _vector(lambda vector: vector * 2),
    "item without its vector": _sql("DELETE FROM vectors WHERE label = 20"),
    "vector without its item": _sql("DELETE FROM items WHERE label = 20"),
    "checksum": _sql("UPDATE items SET checksum = checksum + 1 WHERE label = 20"),
    "payload that is no JSON": _item("payload", "{"),
    "payload that is a list": _item("payload", "[]"),
    "payload with NaN": _item("payload", '{"a": NaN}'),
    "payload with infinity": _item("payload", '{"a": 1e999}'),
    "deep payload": _item("payload", '{"a":' * 40 + "1" + "}" * 40),
    "very deep payload": _item("payload", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "empty id": _item("id", ""),
    "id with a line end": _item("id", "a\nb"),
    "long id": _item("id", "a" * 600),
    "photo that leads elsewhere": _item("photo", "../../../lock"),
    "photo that is missing": _item("photo", "0" * 64 + ".jpg"),
    "label 0": _relabelled(0),
    "negative label": _relabelled(-5),
    "highest label": _relabelled((1 << 63) - 1),
    "encoder without a manifest": _sql("UPDATE encoders SET manifest = '{}'"),
    "encoder of another id": _sql("UPDATE encoders SET id = 'evil@1'"),
    "encoder of another file": _sql("UPDATE encoders SET sha256 = '../../../lock'"),
    "encoder of negative size": _sql("UPDATE encoders SET size = -1"),
    "encoder with half a file": _sql("UPDATE encoders SET has_file = 2"),
    "encoder with a report that is none": _sql("UPDATE encoders SET report = '{}'"),
    "encoder of no date": _sql("UPDATE encoders SET admitted_at = 'x'"),
    "default of no runtime": _sql("INSERT INTO default_encoders VALUES ('toaster', 'teacher@1')"),
    "default of no encoder": _sql("INSERT INTO default_encoders VALUES ('web', 'evil@1')"),
    "retired at no date": _sql("INSERT INTO retired_encoders VALUES ('old@1', '', 'x')"),
    "probe of another length": _sql("UPDATE probes SET vector = x'00'"),
    "probe of NaN": _sql("UPDATE probes SET vector = CAST(zeroblob(length(vector) - 4) || x'0000c07f' AS BLOB)"),
    "probe with a photo that leads elsewhere": _sql("UPDATE probes SET photo = '../gallery.db'"),
    "probe without an id": _sql("UPDATE probes SET id = ''"),
    "probe of no date": _sql("UPDATE probes SET added_at = 'x'"),
}  # fmt: skip

FILES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-4_096],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "no database": lambda content: b"x" * len(content),
    "other header": lambda content: b"SQLite format 4" + content[15:],
    "other encoding": lambda content: content[:56] + b"\0\0\0\2" + content[60:],
    "other page size": lambda content: content[:16] + b"\x20\0" + content[18:],
    "vacuumed by itself": lambda content: content[:52] + b"\0\0\0\3" + content[56:],
    "future version": lambda content: content[:18] + b"\5\5" + content[20:],
}

MANIFESTS: dict[str, dict[str, Any]] = {
    "items": {"items": 41},
    "photos": {"photos": 13},
    "sequence": {"sequence": 3},
    "teacher": {"teacher": "other@1"},
    "dim": {"dim": 63},
    "space": {"space": "sp1-" + "0" * 32},
    "items below zero": {"items": -1},
    "items beyond reason": {"items": 10**40},
    "items of no number": {"items": "NaN"},
}


def _rewritten(good: Path, target: Path, change: Callable[[bytes], bytes], manifest_change: dict[str, Any]) -> Path:
    """The snapshot with another database; length and digest in the manifest are right."""
    with tarfile.open(good) as tar:
        members = {each.name: (tar.extractfile(each) or BytesIO()).read() for each in tar.getmembers()}
    manifest = json.loads(members.pop("manifest.json"))
    members["gallery.db"] = change(members["gallery.db"])
    content = members["gallery.db"]
    assert manifest["members"][0]["path"] == "gallery.db"
    manifest["members"][0].update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    manifest.update(manifest_change)
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    # tarfile pads to 10,240 bytes; a snapshot ends after two empty blocks.
    length = 1_024 + sum(
        512 + len(data) + -len(data) % 512 for data in [json.dumps(manifest).encode(), *members.values()]
    )
    target.write_bytes(target.read_bytes()[:length].ljust(length, b"\0"))
    return target


def _altered(alter: Alter, folder: Path) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        path = folder / "altered.db"
        path.write_bytes(content)
        database = sqlite3.connect(path, isolation_level=None)
        alter(database)
        database.close()
        return path.read_bytes()

    return change


class Served:
    """A DATA with one gallery, in which snapshots are restored under the name `new`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.galleries = Catalog(data, owner="a test")
        self.galleries.load()

    def state(self) -> object:
        folders = self.data / "galleries"
        files = sorted(path.relative_to(folders).as_posix() for path in folders.rglob("*"))
        return files, self.galleries.names(), self.galleries.describe("kept"), self.galleries.damaged()

    def refuses(self, archive: Path) -> None:
        before = self.state()
        with pytest.raises(Refusal) as refused:
            restore_gallery(self.galleries, "new", archive, lambda done, total: None, lambda: None)
            # It was not refused; the next alteration is judged by itself.
            self.galleries.delete("new")
        assert refused.value.kind is ProblemKind.DAMAGED_SNAPSHOT, refused.value
        assert "Traceback" not in str(refused.value)
        assert self.state() == before


@pytest.fixture(scope="module")
def served(teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("served") / "data"
    write_gallery(data, "kept", teacher_file, [StoredItem("one", unit_vector(1), {})])
    running = Served(data)
    yield running
    running.galleries.close()


@pytest.mark.parametrize("alteration", SQL)
def test_a_database_that_askew_would_not_have_made_is_refused(
    good: Path, served: Served, tmp_path: Path, alteration: str
) -> None:
    served.refuses(_rewritten(good, tmp_path / "x.tar", _altered(SQL[alteration], tmp_path), {}))


@pytest.mark.parametrize("alteration", FILES)
def test_a_file_that_is_no_whole_database_is_refused(
    good: Path, served: Served, tmp_path: Path, alteration: str
) -> None:
    served.refuses(_rewritten(good, tmp_path / "x.tar", FILES[alteration], {}))


@pytest.mark.parametrize("alteration", MANIFESTS)
def test_a_manifest_that_the_database_contradicts_is_refused(
    good: Path, served: Served, tmp_path: Path, alteration: str
) -> None:
    served.refuses(_rewritten(good, tmp_path / "x.tar", lambda content: content, MANIFESTS[alteration]))


def test_the_snapshot_itself_is_restored_and_written_to(good: Path, served: Served, tmp_path: Path) -> None:
    """The alterations alone are what is refused."""
    same = _rewritten(good, tmp_path / "x.tar", _altered(_sql("VACUUM"), tmp_path), {})
    restore_gallery(served.galleries, "new", same, lambda done, total: None, lambda: None)
    gallery = served.galleries.get("new")
    gallery.run(lambda each: each.upsert(ItemBatch.of([StoredItem("more", unit_vector(99), {})])))
    assert served.galleries.describe("new").items == 43
    served.galleries.delete("new")


def test_a_snapshot_is_restored_in_place_of_a_gallery_whose_folder_is_gone(
    good: Path, tmp_path: Path, teacher_file: Path
) -> None:
    data = tmp_path / "data"
    write_gallery(data, "objects", teacher_file)
    shutil.rmtree(data / "galleries" / "objects")
    with closing(Catalog(data, owner="a test")) as galleries:
        galleries.load()
        assert list(galleries.damaged()) == ["objects"]
        restore_gallery(galleries, "objects", good, lambda done, total: None, lambda: None)
        assert galleries.damaged() == {}
    with closing(Catalog(data, owner="a test")) as galleries:
        galleries.load()
        assert (galleries.damaged(), galleries.describe("objects").items) == ({}, 42)


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_refused_or_without_effect(good: Path, served: Served, tmp_path: Path) -> None:
    """Free pages and what lies between rows can hold anything: then every item is as it was."""
    chance = random.Random(14)
    outcomes = {"refused": 0, "restored": 0}
    for _ in range(60):

        def flip(content: bytes) -> bytes:
            changed = bytearray(content)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            return bytes(changed)

        archive = _rewritten(good, tmp_path / "x.tar", flip, {})
        try:
            restore_gallery(served.galleries, "new", archive, lambda done, total: None, lambda: None)
        except Refusal as refusal:
            assert refusal.kind is ProblemKind.DAMAGED_SNAPSHOT
            outcomes["refused"] += 1
            continue
        outcomes["restored"] += 1
        gallery = served.galleries.get("new")
        gallery.run(lambda each: each.upsert(ItemBatch.of([StoredItem("more", unit_vector(99), {})])))
        assert served.galleries.describe("new").items == 43
        served.galleries.delete("new")
    assert outcomes["refused"] > 10, outcomes


@pytest.mark.parametrize(
    "alteration",
    [
        "unique index on a condition", "generated column", "trigger", "view", "extra table", "other collation",
        "layout '99'", "sequence '9223372036854775807'", "user_version",
    ],
)  # fmt: skip
def test_a_foreign_schema_is_not_opened_either(good: Path, tmp_path: Path, alteration: str) -> None:
    folder = tmp_path / "data" / "galleries" / "objects"
    folder.mkdir(parents=True)
    with tarfile.open(good) as tar:
        tar.extractall(folder, filter="data")
    database = folder / "gallery.db"
    Gallery.open(shutil.copytree(folder, tmp_path / "same")).close()
    database.write_bytes(_altered(SQL[alteration], tmp_path)(database.read_bytes()))
    with pytest.raises(DamagedGallery):
        Gallery.open(folder)
