"""Saves the valid rows of a damaged gallery database into a new one; the damaged one is kept."""

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
from askew_server.files import free_path
from askew_server.maintenance.examination import fault_of
from askew_server.storage.checksums import install_checksums
from askew_server.storage.encoders import ENCODERS_SCHEMA
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import MILVUS_PLACE, GalleryFacts, read_fact, read_facts, write_fact
from askew_server.storage.items import SqliteItemStore
from askew_server.storage.probes import PROBES_SCHEMA
from askew_server.storage.raw_items import RawItem, raw_items
from askew_server.storage.sqlite import Database

_BATCH = 1_000
_MAX_TRIED = 10_000_000
_OTHER_TABLES = ("encoders", "retired_encoders", "default_encoders", "probes")


@dataclass(frozen=True)
class Salvage:
    """What was saved: how many items, how many could not be read, and where the damaged files are now."""

    saved: int
    lost: int
    kept_in: Path


def salvage_database(folder: Path) -> Salvage:
    """Replace a gallery's damaged database by a new one with every valid item, read row by row.

    Items keep ids, vectors, payloads, photos and labels. Raises AskewError when not even the gallery's teacher can be
    determined; then nothing has changed.
    """
    damaged = folder / "gallery.db"
    work = folder / "salvaging.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        # SQLite recovers the log as it opens the copy; the original is not changed.
        copy = work / "damaged.db"
        for path in (folder / "gallery.db", folder / "gallery.db-wal"):
            if path.exists():
                shutil.copyfile(path, work / path.name.replace("gallery.db", copy.name))
        with Database.open(copy) as source:
            teacher = _teacher(source, folder)
            saved, lost = _save(source, work / "new", teacher)
        aside = free_path(folder / "damaged" / "before-repair")
        aside.mkdir(parents=True)
        for path in folder.glob("gallery.db*"):
            path.rename(aside / path.name)
        (work / "new" / "gallery.db").rename(damaged)
        flush_folder(folder)
        # The next start rebuilds it from the saved rows.
        shutil.rmtree(folder / "index", ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Salvage(saved, lost, aside)


def _save(source: Database, target: Path, teacher: Manifest) -> tuple[int, int]:
    """Save every valid item and the other tables into a new gallery; how many items were saved and lost."""
    store = SqliteItemStore(target)
    install_checksums(store.connection)
    try:
        store.begin({**_other_facts(source), **GalleryFacts.of_new_gallery(teacher)})
        saved = lost = 0
        batch: list[RawItem] = []
        for item in _readable(source):
            if item is None or fault_of(item, teacher.dim) is not None or not item.matches_checksums:
                lost += 1
                continue
            saved += 1
            batch.append(item)
            if len(batch) == _BATCH:
                _write(store.connection, batch)
                batch = []
        _write(store.connection, batch)
        # No label is used a second time, not even one of an item that was lost.
        highest = _highest_label(source)
        if highest > store.sequence:
            write_fact(store.connection, "sequence", str(highest))
        store.connection.execute_script(ENCODERS_SCHEMA + PROBES_SCHEMA)
        for table in _OTHER_TABLES:
            _copy_table(source, store.connection, table)
        store.connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        store.close()
    return saved, lost


def _write(target: Database, items: list[RawItem]) -> None:
    """Insert items under their old labels; of two items with one id, the later one stays."""
    if not items:
        return
    with target.transaction():
        for item in items:
            target.execute("DELETE FROM vectors WHERE label = (SELECT label FROM items WHERE id = ?)", (item.id,))
            target.execute(
                "INSERT OR REPLACE INTO items VALUES (?1, ?2, ?3, ?4, item_checksum(?1, ?2, ?3, ?4))",
                (item.label, item.id, item.payload, item.photo),
            )
            target.execute(
                "INSERT OR REPLACE INTO vectors VALUES (?1, ?2, vector_checksum(?1, ?2))", (item.label, item.vector)
            )
        write_fact(target, "sequence", str(items[-1].label))


def _readable(source: Database) -> Iterator[RawItem | None]:
    """Every item that SQLite can still read, by label; None for each one that exists and cannot be read."""
    last = 0
    try:
        for item in raw_items(source):
            last = item.label
            yield item
        return
    except DatabaseError:
        pass
    # The walk ended at a damaged page: the labels after it are tried one by one.
    for label in range(last + 1, min(_highest_label(source), last + _MAX_TRIED) + 1):
        try:
            yield from raw_items(source, [label])
        except DatabaseError:
            yield None


def _highest_label(source: Database) -> int:
    """The highest label by whichever of these can be read."""
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


def _other_facts(source: Database) -> dict[str, str]:
    """The readable facts that the new database does not set itself."""
    try:
        facts = read_facts(source)
    except DatabaseError:
        return {}
    return {key: value for key, value in facts.items() if key in {"created_at", "index_kind", MILVUS_PLACE}}


def _teacher(source: Database, folder: Path) -> Manifest:
    """The gallery's teacher by its facts, or else by the only teacher's file in the gallery's folder."""
    try:
        return Manifest.model_validate_json(read_fact(source, "teacher") or "")
    except (DatabaseError, ValidationError):
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
            f"Nothing can be saved from {folder / 'gallery.db'}: neither its facts nor an encoder file say which teacher "
            "described the gallery. Restore a snapshot."
        )
    return teachers[0]


def _copy_table(source: Database, target: Database, table: str) -> None:
    """Copy the rows of a table, which the target has, as far as they can be read."""
    try:
        columns = [str(name) for _, name, *_ in target.rows(f"PRAGMA table_info({table})")]
        named, marks = ", ".join(columns), ",".join("?" * len(columns))
        for row in source.each(f"SELECT {named} FROM {table}"):
            target.execute(f"INSERT INTO {table} VALUES ({marks})", row)
    except DatabaseError:
        return
