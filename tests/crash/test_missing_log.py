"""kill -9 at random moments, then the log is removed or cut: noticed whenever acknowledged writes are lost, and only then.

Each run forks a process that writes to the DATA of the run before, so that its logs have every age. `MISSING_LOG_KILLS=1000`
lengthens it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sqlite3
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from askew_client.contract.keys import CreateKeyRequest
from askew_server.auth.keys import KeyStore
from askew_server.errors import DamagedGallery
from askew_server.gallery.catalog import Catalog
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.server_database import fault_of_server_database
from askew_server.storage.verification import check_before_opening
from tests.support.gallery_files import unit_vector, write_gallery

KILLS = int(os.environ.get("MISSING_LOG_KILLS", "120"))
LONGEST = 0.35
"""Seconds from the first sign of life to the kill, at most."""
GALLERY = "galleries/default"


def _write_until_killed(data: Path, seed: int, acknowledged: Connection) -> None:
    """Write, and send what was acknowledged: the gallery's sequence number, or an alias."""
    chance = random.Random(seed)
    number = seed * 100_000
    is_early = chance.random() < 0.2
    if is_early:
        acknowledged.send("begins")
    while True:
        with closing(Catalog(data, owner="a test")) as catalog, closing(KeyStore(data)) as keys:
            catalog.load()
            gallery = catalog.get("default")
            if number == seed * 100_000 and not is_early:
                acknowledged.send("begins")
            for _ in range(chance.choice([0, 1, 3, 40])):
                number += 1
                batch = [StoredItem(f"item-{number % 300}", unit_vector(number), {"number": number})]
                match chance.randrange(12):
                    case 0:
                        catalog.set_alias(f"alias-{number}", "default")
                        acknowledged.send(f"alias-{number}")
                    case 1:
                        keys.create(CreateKeyRequest(name=f"key-{number}", scopes=["search"]))
                        acknowledged.send(f"key-{number}")
                    case 2:
                        acknowledged.send(
                            gallery.run(lambda each: each.delete_items([f"item-{number % 300}"])[0]).sequence  # noqa: B023
                        )
                    case _:
                        acknowledged.send(gallery.run(lambda each: each.upsert(ItemBatch.of(batch))))  # noqa: B023


@pytest.mark.slow
def test_a_log_that_is_missing_after_a_kill_is_noticed_and_nothing_else_is(tmp_path: Path, teacher_file: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    write_gallery(data, "default", teacher_file)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "askew_server.gallery.catalog"])
    chance = random.Random(13)
    sequence, names = 0, set[str]()
    losses = {"gallery": 0, "server": 0, "nothing": 0}
    for kill in range(KILLS):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_write_until_killed, args=(data, kill + 1, sending))
        process.start()
        sending.close()
        assert receiving.poll(120), "the writer did not begin"
        time.sleep(chance.uniform(0, LONGEST))
        process.kill()
        process.join()
        for each in _received(receiving):
            if isinstance(each, int):
                sequence = max(sequence, each)
            elif each != "begins":
                names.add(each)
        # Never a false alarm.
        check_before_opening(_fresh(data, copy) / GALLERY)
        assert fault_of_server_database(copy) is None
        assert _sequence(copy) >= sequence
        assert names <= _names(copy)
        # Whatever is taken away.
        cut = chance.choice([_remove, _empty, _halve])
        _fresh(data, copy)
        cut(copy / GALLERY / "gallery.db-wal")
        cut(copy / "askew.db-wal")
        is_noticed, is_server_noticed = _is_damaged(copy / GALLERY), fault_of_server_database(copy) is not None
        is_lost, is_server_lost = _sequence(copy) < sequence, not names <= _names(copy)
        assert is_noticed or not is_lost, f"kill {kill}: writes up to {sequence} were lost in silence"
        assert is_server_noticed or not is_server_lost, f"kill {kill}: keys or aliases were lost in silence"
        losses["gallery"] += is_lost
        losses["server"] += is_server_lost
        losses["nothing"] += not is_noticed and not is_server_noticed
    assert min(losses.values()) > 0 or KILLS < 100, losses


def _received(receiving: Connection) -> list[int | str]:
    found: list[int | str] = []
    try:
        while receiving.poll(0):
            found.append(receiving.recv())
    except EOFError:
        pass
    return found


def _fresh(data: Path, copy: Path) -> Path:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy)
    return copy


def _is_damaged(folder: Path) -> bool:
    try:
        check_before_opening(folder)
    except DamagedGallery:
        return True
    return False


def _sequence(data: Path) -> int:
    """The number of the last write; −1 if half a log has left a database that SQLite cannot read."""
    with closing(sqlite3.connect(data / GALLERY / "gallery.db")) as database:
        try:
            return int(database.execute("SELECT value FROM facts WHERE key = 'sequence'").fetchone()[0])
        except sqlite3.DatabaseError:
            return -1


def _names(data: Path) -> set[str]:
    with closing(sqlite3.connect(data / "askew.db")) as database:
        try:
            return {str(name) for (name,) in database.execute("SELECT alias FROM aliases UNION SELECT name FROM keys")}
        except sqlite3.DatabaseError:
            return set()


def _remove(log: Path) -> None:
    log.unlink(missing_ok=True)


def _empty(log: Path) -> None:
    if log.exists():
        log.write_bytes(b"")


def _halve(log: Path) -> None:
    if log.exists():
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
