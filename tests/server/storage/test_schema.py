"""A gallery that an older Askew wrote is opened as if this one had."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.wire import pack_base64
from askew_server.errors import DamagedGallery
from askew_server.storage.items import SqliteItemStore
from tests.support.running_server import RunningServer

PHOTO = hashlib.sha256(b"a photo").hexdigest() + ".jpg"
LAYOUT_1 = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE items (
    label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, vector BLOB NOT NULL, payload TEXT NOT NULL, photo TEXT
) STRICT;
CREATE INDEX items_by_photo ON items (photo) WHERE photo IS NOT NULL;
CREATE TABLE removed (sequence INTEGER PRIMARY KEY, label INTEGER NOT NULL) STRICT;
CREATE TABLE encoders (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, manifest TEXT NOT NULL, size INTEGER NOT NULL, has_file INTEGER NOT NULL,
    admitted_at TEXT NOT NULL, report TEXT
) STRICT;
"""


def _vector(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


@pytest.fixture
def old(tmp_path: Path, teacher_file: Path) -> Path:
    """A DATA directory with a gallery of layout 1: 20 items, one of them with a photo, after some removals."""
    folder = tmp_path / "data/galleries/default"
    (folder / "index").mkdir(parents=True)
    (folder / "index/exact-30.faiss").write_bytes(b"an index of those days")
    (folder / "index/index.json").write_text("{}")
    (folder / "photos" / PHOTO[:2]).mkdir(parents=True)
    (folder / "photos" / PHOTO[:2] / PHOTO).write_bytes(b"a photo")
    teacher = read_encoder_file(teacher_file).manifest
    database = sqlite3.connect(folder / "gallery.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(LAYOUT_1)
    facts = {
        "layout": "1",
        "sequence": "30",
        "space": teacher.space_id,
        "dim": "64",
        "teacher": teacher.model_dump_json(),
    }
    database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
    database.executemany(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
        [
            (11 + n, f"item-{n}", _vector(n).tobytes(), json.dumps({"n": n}), PHOTO if n == 4 else None)
            for n in range(20)
        ],
    )
    database.executemany("INSERT INTO removed VALUES (?, ?)", [(n, n) for n in range(1, 11)])
    database.commit()
    database.close()
    return tmp_path / "data"


@pytest.mark.slow
def test_a_gallery_of_layout_1_is_migrated_and_served(old: Path, teacher_file: Path) -> None:
    space = read_encoder_file(teacher_file).manifest.space_id
    for _ in range(2):
        with RunningServer(old) as server:
            described = server.http.get("/v1/galleries/default").json()
            assert (described["items"], described["photos"], described["sequence"]) == (20, 1, 30)
            for n in (0, 4, 19):
                vector = pack_base64(_vector(n).astype(np.float32))
                asked = {"vector": vector, "dtype": "f16le", "space": space, "limit": 1}
                (hit,) = server.http.post("/search", json=asked).json()["hits"]
                assert (hit["id"], hit["payload"]) == (f"item-{n}", {"n": n})
                item = server.http.get(f"/v1/galleries/default/items/item-{n}?with_vectors=true").json()
                assert (item["vector"], item["has_photo"]) == (vector, n == 4)
            shown = server.http.get("/v1/galleries/default/items/item-4/photo")
            assert shown.content == b"a photo", shown.text
    assert list((old / "galleries/default/index").glob("*")) == []


def test_a_migration_that_fails_leaves_the_gallery_as_it_was(old: Path) -> None:
    folder = old / "galleries/default"
    database = sqlite3.connect(folder / "gallery.db")
    # A name that the migration needs is taken, so that it fails in the middle.
    database.execute("CREATE TABLE items_of_layout_1 (x)")
    database.commit()
    with pytest.raises(DamagedGallery, match="items_of_layout_1"):
        SqliteItemStore(folder)
    database.execute("DROP TABLE items_of_layout_1")
    database.commit()
    assert database.execute("SELECT count(vector) FROM items").fetchone() == (20,)
    database.close()
    store = SqliteItemStore(folder)
    assert store.counts() == (20, 1)
    store.close()


def test_a_layout_of_the_future_is_refused(old: Path) -> None:
    with sqlite3.connect(old / "galleries/default/gallery.db") as database:
        database.execute("UPDATE facts SET value = '3' WHERE key = 'layout'")
    with pytest.raises(DamagedGallery, match="layout 3; this Askew reads layout 2"):
        SqliteItemStore(old / "galleries/default")
