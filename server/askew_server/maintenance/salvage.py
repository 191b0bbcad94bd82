"""Save what holds of a damaged gallery database into a new one; the damaged one is kept aside."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.manifest import Manifest
from askew_client.errors import AskewError, EncoderError
from askew_client.files import flush_folder
from askew_server.maintenance.examination import fault_of
from askew_server.storage.checksums import install_checksums
from askew_server.storage.errors import DatabaseError
from askew_server.storage.items import ItemStore
from askew_server.storage.raw_items import RawItem, raw_items
from askew_server.storage.sqlite import Database

_BATCH = 1_000
_MOST_TRIED = 10_000_000
_OTHER_TABLES = ("encoders", "retired_encoders", "default_encoders", "probes")


@dataclass(frozen=True)
class Salvage:
    """What was saved: how many items, of how many that there were for certain, and where the damaged files lie."""

    saved: int
    lost: int
    kept_in: Path


def salvage_database(folder: Path) -> Salvage:
    """Put a new database in the place of a gallery's damaged one, with every item that holds, read row by row.

    Items keep ids, vectors, payloads, photos and labels. Raises AskewError when not even the gallery's
    teacher can be made out; then nothing is changed.
    """
    damaged = folder / "gallery.db"
    beside = folder / "salvaging.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        # SQLite recovers the log as it opens the copy; the original stays as it is.
        copy = beside / "damaged.db"
        for path in (folder / "gallery.db", folder / "gallery.db-wal"):
            if not path.exists():
                continue
            shutil.copyfile(path, beside / path.name.replace("gallery.db", copy.name))
        with Database.open(copy) as source:
            teacher = _teacher(source, folder)
            saved, lost = _save(source, beside / "new", teacher)
        aside = _free(folder / "damaged" / "before-repair")
        aside.mkdir(parents=True)
        for path in folder.glob("gallery.db*"):
            path.rename(aside / path.name)
        (beside / "new" / "gallery.db").rename(damaged)
        flush_folder(folder)
        # Built anew from the rows that were saved.
        shutil.rmtree(folder / "index", ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Salvage(saved, lost, aside)


def _save(source: Database, target: Path, teacher: Manifest) -> tuple[int, int]:
    store = ItemStore(target)
    install_checksums(store.connection)
    try:
        facts = {"space": teacher.space_id, "dim": str(teacher.dim), "teacher": teacher.model_dump_json()}
        store.begin({**_readable_facts(source), **facts})
        saved = lost = 0
        batch: list[RawItem] = []
        for item in _readable(source):
            if item is None or fault_of(item, teacher.dim) is not None or not item.is_as_written:
                lost += 1
                continue
            batch.append(item)
            if len(batch) == _BATCH:
                _write(store, batch)
                batch = []
            saved += 1
        _write(store, batch)
        _raise_sequence(store, _highest_label(source))
        for table in _OTHER_TABLES:
            _copy_table(source, store.connection, table)
        store.connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        store.close()
    return saved, lost


def _write(store: ItemStore, items: list[RawItem]) -> None:
    """Insert items under the labels that they had; of two with one id, the later one."""
    database = store.connection
    with database.transaction():
        for item in items:
            label, identity, payload, photo, vector = item.label, item.id, item.payload, item.photo, item.vector
            database.execute("DELETE FROM vectors WHERE label = (SELECT label FROM items WHERE id = ?)", (identity,))
            database.execute(
                "INSERT OR REPLACE INTO items VALUES (?1, ?2, ?3, ?4, item_checksum(?1, ?2, ?3, ?4))",
                (label, identity, payload, photo),
            )
            database.execute("INSERT OR REPLACE INTO vectors VALUES (?1, ?2, vector_checksum(?1, ?2))", (label, vector))
        if items:
            database.execute("UPDATE facts SET value = ? WHERE key = 'sequence'", (str(items[-1].label),))


def _readable(source: Database) -> Iterator[RawItem | None]:
    """Every item that SQLite can still read, by label; None for one that is there and cannot be read."""
    last = 0
    try:
        for item in raw_items(source):
            last = item.label
            yield item
        return
    except DatabaseError:
        pass
    # The walk broke off at a damaged page: the labels behind it are tried one by one.
    for label in range(last + 1, min(_highest_label(source), last + _MOST_TRIED) + 1):
        try:
            yield from raw_items(source, "items.label = ?", label)
        except DatabaseError:
            yield None


def _highest_label(source: Database) -> int:
    highest = 0
    for sql in (
        "SELECT value FROM facts WHERE key = 'sequence'",
        "SELECT max(label) FROM items",
        "SELECT max(label) FROM vectors",
    ):
        try:
            highest = max(highest, int(source.value(sql) or 0))
        except (DatabaseError, ValueError):
            continue
    return highest


def _readable_facts(source: Database) -> dict[str, str]:
    try:
        rows = source.rows("SELECT key, value FROM facts WHERE key NOT IN ('layout', 'sequence')")
    except DatabaseError:
        return {}
    return {str(key): str(value) for key, value in rows}


def _teacher(source: Database, folder: Path) -> Manifest:
    """The gallery's teacher by its facts, or else by the one teacher's file that lies beside the database."""
    try:
        return Manifest.model_validate_json(source.value("SELECT value FROM facts WHERE key = 'teacher'"))
    except (DatabaseError, ValidationError, TypeError):
        pass
    manifests = []
    for path in sorted((folder / "encoders").glob("*.onnx")):
        try:
            manifests.append(read_encoder_file(path).manifest)
        except EncoderError:
            continue
    teachers = [manifest for manifest in manifests if manifest.role == "teacher"]
    if len(teachers) != 1:
        raise AskewError(
            f"Nothing can be saved of {folder / 'gallery.db'}: neither its facts nor an encoder file say which teacher "
            "described the gallery. Restore a snapshot."
        )
    return teachers[0]


def _copy_table(source: Database, target: Database, table: str) -> None:
    """Copy the rows of a table that another module owns, as far as they can be read."""
    try:
        schema = source.row("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        if schema is None:
            return
        target.execute(schema[0])
        for row in source.each(f"SELECT * FROM {table}"):
            target.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
    except DatabaseError:
        return


def _raise_sequence(store: ItemStore, highest: int) -> None:
    """No label is ever used a second time, nor one that was lost."""
    if highest > store.sequence:
        store.connection.execute("UPDATE facts SET value = ? WHERE key = 'sequence'", (str(highest),))


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
