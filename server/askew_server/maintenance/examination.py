"""Examines one gallery on disk for damage. Nothing is changed here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import ItemId, Payload
from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.wire import NORM_TOLERANCE
from askew_client.errors import EncoderError
from askew_server.files import file_sha256
from askew_server.index.on_disk import open_main, verify_blocks
from askew_server.maintenance.gallery_copy import FOLDERS, named_files
from askew_server.maintenance.snapshot_archive import is_photo
from askew_server.maintenance.snapshots import Snapshots
from askew_server.maintenance.table_faults import table_faults
from askew_server.offline.store import FOLDER, WITHDRAWN, OfflineStore
from askew_server.storage.checksums import damaged_rows
from askew_server.storage.encoders import encoder_member
from askew_server.storage.errors import DatabaseError
from askew_server.storage.expected_schema import LAYOUTS, schema_fault
from askew_server.storage.facts import ORIGIN, examine_facts, is_in_milvus, read_fact, read_facts
from askew_server.storage.photos import is_intact_photo, is_photo_name
from askew_server.storage.raw_items import RawItem, raw_items
from askew_server.storage.sqlite import Database
from askew_server.storage.vectors import unpack_vector
from askew_server.storage.verification import missing_commits
from askew_server.storage.write_ahead_log import examine_log

_SALVAGE_ADVICE = "Run `askew doctor --repair`, which saves the valid rows, or restore a snapshot of the gallery."


class Repair(Enum):
    """What `askew doctor --repair` does about a finding. None of these loses what can still be read."""

    REMOVE = auto()
    """Remove a file or folder that nothing refers to."""
    REMOVE_INDEX = auto()
    """Remove the saved index, which the next start rebuilds."""
    SET_PHOTO_ASIDE = auto()
    """Move a damaged photo away; its items continue without one."""
    SALVAGE = auto()
    """Save every valid row into a new database, and keep the damaged one."""


class Acceptance(Enum):
    """What `askew doctor --accept-loss` does about something that is missing for good."""

    COMMITS = auto()
    """Take a gallery's database as complete."""
    GALLERY = auto()
    """No longer expect a gallery whose folder is gone."""
    SERVER = auto()
    """Take askew.db as complete, or make an empty one; who had keys is still not served without one."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the file, a sentence on what is wrong, and one on what to do.

    `is_damage`: something is lost or cannot be served; otherwise the file is only superfluous or incomplete.
    `repair`: what --repair does; None where nothing is safe. `acceptance`: what --accept-loss does.
    """

    gallery: str | None
    file: Path
    what: str
    advice: str
    is_damage: bool = True
    repair: Repair | None = None
    acceptance: Acceptance | None = None


def examine_gallery(name: str, folder: Path) -> list[Finding]:
    """Everything that is wrong with a gallery's folder, which no server uses."""
    path = folder / "gallery.db"
    if not path.is_file():
        return [Finding(name, path, "The database is missing.", "Restore a snapshot of the gallery, or delete it.")]
    found = _examine_log(name, path) + _examine_database(name, path)
    if not any(finding.repair is Repair.SALVAGE for finding in found):
        # The database states which other files there should be.
        with Database.open_read_only(path) as database:
            if schema_fault(database) is not None:
                return found
            found += _examine_photos(name, folder, database)
            found += _examine_encoders(name, folder, database)
            dim = str(read_facts(database).get("dim"))
        if dim.isdecimal():
            found += _examine_index(name, folder / "index", int(dim))
    others = _examine_snapshots(name, folder) + _examine_offline_pack(name, folder)
    return found + others + _examine_other_files(name, folder)


def fault_of(item: RawItem, dim: int) -> str | None:
    """What is wrong with one item by itself, as the end of a sentence; None if it is valid."""
    try:
        TypeAdapter(ItemId).validate_python(item.id, strict=True)
    except ValidationError:
        return "has no valid id"
    try:
        if not isinstance(item.payload, str) or not isinstance(payload := json.loads(item.payload), dict):
            return "has a payload that is not a JSON object"
        # Valid JSON can hold what no answer can: a number beyond float64, or a thousand levels.
        TypeAdapter(Payload).validate_python(payload)
    except ValidationError as error:
        return f"has a payload that no item can have ({error.errors()[0]['msg'][:120]})"
    except (ValueError, RecursionError):
        return "has a payload that is not JSON"
    if item.photo is not None and not is_photo_name(item.photo):
        return "has a photo that is not named by a SHA-256"
    if not isinstance(item.vector, bytes) or len(item.vector) != 2 * dim:
        return f"has no vector of {dim} values"
    length = float(np.linalg.norm(unpack_vector(item.vector).astype(np.float64)))
    if not abs(length - 1.0) <= NORM_TOLERANCE:
        return f"has a vector of length {length:.4g}, not 1"
    return None


def _examine_log(name: str, path: Path) -> list[Finding]:
    damage = examine_log(path)
    if damage is None:
        return []
    if damage.loses_acknowledged:
        what = (
            f"The write-ahead log is damaged at frame {damage.frame} of {damage.frames}; about {damage.commits} "
            "acknowledged writes after that frame cannot be read."
        )
        advice = "Run `askew doctor --repair`, which saves what is readable, and repeat the last writes; or restore a snapshot."
        return [Finding(name, damage.path, what, advice, repair=Repair.SALVAGE)]
    what = f"The write-ahead log ends in an incomplete write (frame {damage.frame} of {damage.frames})."
    advice = "A crash or a power cut during a write causes this. Everything that was acknowledged before it is there."
    return [Finding(name, damage.path, what, advice, is_damage=False)]


def _examine_database(name: str, path: Path) -> list[Finding]:
    """What is wrong inside a gallery's database, which exists."""
    try:
        with Database.open_read_only(path) as database:
            for check in ("quick_check", "integrity_check"):
                verdict = [str(row[0]) for row in database.each(f"PRAGMA {check}(5)")]
                if verdict != ["ok"]:
                    what = f"SQLite's {check} finds the database damaged: {'; '.join(verdict)[:400]}."
                    return [_damaged_database(name, path, what)]
            foreign = schema_fault(database)
            if foreign is not None:
                what = f"The database is not as Askew makes it: {foreign}."
                layout = read_fact(database, "layout") if database.has_table("facts") else None
                if layout is not None and layout not in LAYOUTS:
                    # Perhaps the database of a newer Askew, which this one must not replace.
                    return [Finding(name, path, what, "Upgrade Askew, or restore a snapshot.")]
                return [_damaged_database(name, path, what)]
            facts = read_facts(database)
            fault = examine_facts(facts)
            if fault is not None:
                return [_damaged_database(name, path, f"The gallery's facts are damaged: {fault}.")]
            dim, sequence = int(facts["dim"]), int(facts["sequence"])
            found = _examine_items(name, path, database, dim, sequence)
            rows = list(table_faults(database, facts["space"], dim))
            if rows:
                what = f"{len(rows)} rows of encoders and probes are damaged: {rows[0]}."
                found.append(Finding(name, path, what, "Restore a snapshot of the gallery."))
            return found + _examine_commits(name, path, database)
    except DatabaseError as error:
        return [_damaged_database(name, path, f"The database cannot be read: {error}.")]


def _examine_commits(name: str, path: Path, database: Database) -> list[Finding]:
    fault = missing_commits(path.parent, database)
    if fault is None:
        return []
    what = f"Acknowledged writes are missing: {fault}."
    advice = (
        "Put back the missing file, or restore a snapshot; `askew doctor --accept-loss` takes the gallery as it is."
    )
    return [Finding(name, path, what, advice, acceptance=Acceptance.COMMITS)]


def _examine_items(name: str, path: Path, database: Database, dim: int, sequence: int) -> list[Finding]:
    """Damaged items, reported together: how many rows, and what is wrong with the first."""
    bad, first, count, highest = 0, "", 0, 0
    for faults in damaged_rows(database):
        bad += len(faults)
        first = first or (faults[0] if faults else "")
    for item in raw_items(database):
        count, highest = count + 1, item.label
        fault = fault_of(item, dim)
        if fault is not None:
            bad += 1
            first = first or f"item {str(item.id)[:80]!r} (label {item.label}) {fault}"
    found = []
    if bad:
        found.append(_damaged_database(name, path, f"{bad} rows of {count} items are damaged: {first}."))
    lowest = database.value("SELECT min(label) FROM items")
    if lowest is not None and lowest < 1:
        found.append(_damaged_database(name, path, f"The first item has label {lowest}; labels begin at 1."))
    if database.has_table("vectors"):
        orphans = int(database.value("SELECT count(*) FROM vectors WHERE label NOT IN (SELECT label FROM items)"))
        if orphans:
            found.append(_damaged_database(name, path, f"{orphans} vectors belong to no item."))
    unreadable = int(database.value("SELECT count(*) FROM items WHERE NOT json_valid(payload)"))
    if unreadable and not bad:
        found.append(_damaged_database(name, path, f"{unreadable} payloads are not JSON that SQLite reads."))
    if highest > sequence:
        what = f"The last item has label {highest}, but the gallery's sequence number is {sequence}."
        found.append(_damaged_database(name, path, what))
    return found


def _damaged_database(name: str, path: Path, what: str) -> Finding:
    return Finding(name, path, what, _SALVAGE_ADVICE, repair=Repair.SALVAGE)


def _examine_photos(name: str, folder: Path, database: Database) -> list[Finding]:
    found = []
    named = named_files(database)
    advice = "Send the photo again (PUT …/items/ID), or restore a snapshot; with --repair its items continue without a photo."
    for path in (folder / member for member in sorted(named) if is_photo(member)):
        try:
            is_intact = is_intact_photo(path)
            what = "The photo is damaged: its bytes do not have the SHA-256 that it is named by."
        except OSError as error:
            is_intact, what = False, f"The photo cannot be read: {error.strerror}."
        if not is_intact:
            found.append(Finding(name, path, what, advice, repair=Repair.SET_PHOTO_ASIDE))
    if is_in_milvus(folder):
        # Its items name photos, too.
        return found
    files = [path for top in FOLDERS for path in sorted((folder / top).rglob("*")) if path.is_file()]
    unnamed = [path for path in files if path.relative_to(folder).as_posix() not in named]
    return found + [_orphan(name, path, "Nothing in the gallery's database names this file.") for path in unnamed]


def _examine_encoders(name: str, folder: Path, database: Database) -> list[Finding]:
    found: list[Finding] = []
    if not database.has_table("encoders"):
        return found
    for identity, sha256 in database.rows("SELECT id, sha256 FROM encoders WHERE has_file ORDER BY id"):
        path = folder / encoder_member(sha256)
        advice = f"Send the file of {identity} again: a student with `askew admit`, the teacher with PUT /v1/galleries/{name}."
        try:
            file = read_encoder_file(path)
            if (file.sha256, file.manifest.encoder_id) != (sha256, identity):
                what = f"The file is another encoder, {file.manifest.encoder_id}."
                found.append(Finding(name, path, what, advice))
        except EncoderError as error:
            found.append(Finding(name, path, f"The file of encoder {identity} is damaged: {error}", advice))
    return found


def _examine_index(name: str, folder: Path, dim: int) -> list[Finding]:
    """Damage of the saved index. Searches are right without it, because it is rebuilt."""
    if not folder.is_dir():
        return []
    blocks = (each.damage for each in verify_blocks(folder))
    damage = open_main(folder, dim).damage or next((each for each in blocks if each), None)
    if damage is None:
        return []
    what = f"The saved index is damaged: {damage.rstrip('.')}."
    advice = "The next start of the server rebuilds it from the database; --repair removes it now."
    return [Finding(name, folder, what, advice, repair=Repair.REMOVE_INDEX)]


def _examine_snapshots(name: str, folder: Path) -> list[Finding]:
    snapshots = Snapshots(name, folder)
    advice = f"Delete it and make another one: `askew snapshot create --gallery {name}`."
    what = "The snapshot is damaged: its bytes do not have its SHA-256."
    found, complete = [], set[str]()
    for snapshot in snapshots.list():
        complete |= {f"{snapshot.name}.tar", f"{snapshot.name}.json"}
        path = folder / "snapshots" / f"{snapshot.name}.tar"
        if not path.is_file():
            found.append(Finding(name, path, "The file of the snapshot is missing.", advice))
        elif file_sha256(path) != snapshot.sha256:
            found.append(Finding(name, path, what, advice))
    unfinished = [path for path in sorted((folder / "snapshots").glob("*")) if path.name not in complete]
    return found + [_orphan(name, path, "It is part of a snapshot that was never finished.") for path in unfinished]


def _examine_offline_pack(name: str, folder: Path) -> list[Finding]:
    """A damaged pack, and what was left of one. Nothing is lost: a pack is made from the gallery."""
    store = OfflineStore(name, folder)
    left = [_orphan(name, path, "It is part of an offline pack that is not served.") for path in store.leftovers()]
    record = store.record()
    if record is None or file_sha256(store.path(record)) == record.sha256:
        return left
    what = "The offline pack is damaged: its bytes do not have its SHA-256."
    advice = f"Remove it with --repair; the server makes it again, or `askew gallery pack {name}` does."
    return [*left, Finding(name, store.path(record), what, advice, repair=Repair.REMOVE)]


def _examine_other_files(name: str, folder: Path) -> list[Finding]:
    """Files that a crash left next to the database, and files that Askew does not know."""
    known = {
        "gallery.db",
        "gallery.db-wal",
        "gallery.db-shm",
        "gallery.db-commits",
        "index",
        "snapshots",
        "damaged",
        FOLDER,
        ORIGIN,
        *FOLDERS,
    }
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".part"):
            found.append(_orphan(name, path, "It was being written when the server ended."))
        elif path.name not in known and not path.name.startswith(WITHDRAWN):
            advice = "Move it away if it is not needed."
            found.append(Finding(name, path, "Askew does not know this file.", advice, is_damage=False))
    return found


def _orphan(name: str, path: Path, what: str) -> Finding:
    advice = "It takes space and does no harm; --repair removes it."
    return Finding(name, path, what, advice, is_damage=False, repair=Repair.REMOVE)
