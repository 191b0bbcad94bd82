"""A full disk: nothing is half written, the answer says what happened, and later writes work."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from askew_server.answers import install_problem_handlers
from askew_server.store import GalleryStore, StoredItem


def _items(count: int) -> list[StoredItem]:
    return [StoredItem(f"item-{n}", np.eye(1, 2048, n, dtype=np.float32)[0], {}) for n in range(count)]


@pytest.fixture
def full_store(tmp_path: Path) -> GalleryStore:
    """A store whose database may not grow any more, as on a full disk: SQLite answers SQLITE_FULL."""
    store = GalleryStore(tmp_path / "gallery")
    store.begin({"dim": "2048"})
    store.upsert(_items(3))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    return store


def test_a_write_that_finds_the_disk_full_changes_nothing_and_the_next_one_works(full_store: GalleryStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="full"):
        full_store.upsert(_items(200))
    assert full_store.counts() == (3, 0)
    assert full_store.sequence == 3
    full_store._db.execute("PRAGMA max_page_count = 1000000")
    full_store.upsert(_items(200))
    assert full_store.counts() == (200, 0)


@pytest.mark.parametrize("kind", ["database", "photo"])
def test_the_answer_is_507(full_store: GalleryStore, kind: str) -> None:
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
