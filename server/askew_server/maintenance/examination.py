"""What can be wrong with one gallery on disk, found by looking: nothing is changed here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import ItemId
from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.wire import NORM_TOLERANCE
from askew_client.errors import EncoderError
from askew_server.index.on_disk import open_main, verify_blocks
from askew_server.maintenance.gallery_copy import FOLDERS, named_files
from askew_server.maintenance.snapshot_archive import MEMBER_NAMES, is_photo
from askew_server.maintenance.snapshots import Snapshots
from askew_server.storage.checksums import damaged_rows, has_checksums
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import examine_facts, read_facts
from askew_server.storage.raw_items import RawItem, raw_items
from askew_server.storage.sqlite import Database
from askew_server.storage.write_ahead_log import examine_log

Repair = Literal["remove", "remove index", "salvage", "set photo aside"]
"""What `askew doctor --repair` does about a finding; none of it loses what can still be read."""

_BATCH = 2_048
_SALVAGE = "Run `askew doctor --repair`, which saves the rows that hold, or restore a snapshot of the gallery."


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, a sentence on what, and one on what to do.

    `is_damage`: something is lost or cannot be served; else it is only in the way. `repair`: what --repair does.
    """

    gallery: str | None
    file: Path
    what: str
    advice: str
    is_damage: bool = True
    repair: Repair | None = None


def examine_gallery(name: str, folder: Path) -> list[Finding]:
    """Everything that is wrong with a gallery's folder, which no server uses."""
    path = folder / "gallery.db"
    if not path.is_file():
        return [Finding(name, path, "The database is missing.", "Restore a snapshot of the gallery, or delete it.")]
    found = _examine_log(name, path) + examine_database(name, path)
    if not any(finding.repair == "salvage" for finding in found):
        # What else there is to say depends on what the database says.
        with Database.open_read_only(path) as database:
            found += _examine_photos(name, folder, database)
            found += _examine_encoders(name, folder, database)
            dim = str(read_facts(database).get("dim"))
        if dim.isdecimal():
            found += _examine_index(name, folder / "index", int(dim))
    return found + _examine_snapshots(name, folder) + _leftovers(name, folder)


def examine_database(name: str, path: Path) -> list[Finding]:
    """What is wrong inside a gallery's database, which is there."""
    try:
        with Database.open_read_only(path) as database:
            for check in ("quick_check", "integrity_check"):
                verdict = [str(row[0]) for row in database.each(f"PRAGMA {check}(5)")]
                if verdict != ["ok"]:
                    what = f"SQLite's {check} finds the database damaged: {'; '.join(verdict)[:400]}."
                    return [Finding(name, path, what, _SALVAGE, repair="salvage")]
            refused = database.row(
                "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
            )
            if refused is not None:
                what = (
                    f"The database holds {str(refused[0])[:80]!r}, a trigger, view or virtual table; Askew makes none."
                )
                return [Finding(name, path, what, "Do not trust where it came from; restore another snapshot.")]
            facts = read_facts(database)
            fault = examine_facts(facts)
            if fault is not None:
                return [Finding(name, path, f"The gallery's facts are damaged: {fault}.", _SALVAGE, repair="salvage")]
            return _examine_items(name, path, database, facts)
    except DatabaseError as error:
        return [Finding(name, path, f"The database cannot be read: {error}.", _SALVAGE, repair="salvage")]


def fault_of(item: RawItem, dim: int) -> str | None:
    """What is wrong with one item in itself; None for one that holds."""
    try:
        TypeAdapter(ItemId).validate_python(item.id, strict=True)
    except ValidationError:
        return "has no valid id"
    try:
        if not isinstance(item.payload, str) or not isinstance(json.loads(item.payload), dict):
            return "has a payload that is no JSON object"
    except ValueError:
        return "has a payload that is no JSON"
    if item.photo is not None and MEMBER_NAMES.fullmatch(f"photos/{str(item.photo)[:2]}/{item.photo}") is None:
        return "has a photo that is not named by a SHA-256"
    if not isinstance(item.vector, bytes) or len(item.vector) != 2 * dim:
        return f"has no vector of {dim} values"
    vector = np.frombuffer(item.vector, dtype="<f2").astype(np.float64)
    length = float(np.linalg.norm(vector))
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
            "acknowledged writes behind it cannot be read."
        )
        advice = "Run `askew doctor --repair`, which saves what is readable, and repeat the last writes; or restore a snapshot."
        return [Finding(name, damage.path, what, advice, repair="salvage")]
    what = f"The write-ahead log ends in a write that is not whole (frame {damage.frame} of {damage.frames})."
    advice = "A crash or a power cut in the middle of a write leaves this; what was acknowledged before it is there."
    return [Finding(name, damage.path, what, advice, is_damage=False)]


def _examine_items(name: str, path: Path, database: Database, facts: dict[str, str]) -> list[Finding]:
    """Items that do not hold, told together: how many, and what is wrong with the first."""
    dim, sequence = int(facts["dim"]), int(facts["sequence"])
    bad, first, count, highest = 0, "", 0, 0
    if has_checksums(database):
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
        what = f"{bad} rows of {count} items do not hold: {first}."
        found.append(Finding(name, path, what, _SALVAGE, repair="salvage"))
    if highest > sequence:
        what = f"The last item has label {highest}, but the gallery's sequence number is {sequence}."
        found.append(Finding(name, path, what, _SALVAGE, repair="salvage"))
    return found


def _examine_photos(name: str, folder: Path, database: Database) -> list[Finding]:
    found = []
    named = named_files(database)
    advice = (
        "Send the photo again (PUT …/items/ID), or restore a snapshot; --repair lets its items go on without a photo."
    )
    for path in (folder / member for member in sorted(named) if is_photo(member)):
        try:
            with path.open("rb") as stream:
                is_whole = hashlib.file_digest(stream, "sha256").hexdigest() == path.stem
            what = "The photo is damaged: its bytes are not those of its SHA-256."
        except OSError as error:
            is_whole, what = False, f"The photo cannot be read: {error.strerror}."
        if not is_whole:
            found.append(Finding(name, path, what, advice, repair="set photo aside"))
    files = [path for top in FOLDERS for path in sorted((folder / top).rglob("*")) if path.is_file()]
    strays = [path for path in files if path.relative_to(folder).as_posix() not in named]
    return found + [_orphan(name, path, "Nothing in the gallery's database names this file.") for path in strays]


def _examine_encoders(name: str, folder: Path, database: Database) -> list[Finding]:
    found: list[Finding] = []
    if not database.has_table("encoders"):
        return found
    rows = database.rows("SELECT id, sha256, has_file FROM encoders ORDER BY id")
    for identity, sha256, has_file in rows:
        path = folder / "encoders" / f"{sha256}.onnx"
        if not has_file:
            continue
        advice = f"Put the file of {identity} there again: `askew admit`, or PUT /v1/galleries/{name} for the teacher."
        try:
            came = read_encoder_file(path)
            if (came.sha256, came.manifest.encoder_id) != (sha256, identity):
                found.append(Finding(name, path, f"The file is another encoder, {came.manifest.encoder_id}.", advice))
        except EncoderError as error:
            found.append(Finding(name, path, f"The file of encoder {identity} does not hold: {error}", advice))
    return found


def _examine_index(name: str, folder: Path, dim: int) -> list[Finding]:
    """Damage of the saved index, which is derived: searches are right without it."""
    if not folder.is_dir():
        return []
    blocks = (each.damage for each in verify_blocks(folder))
    damage = open_main(folder, dim).damage or next((each for each in blocks if each), None)
    if damage is None:
        return []
    advice = "The next start of the server builds it anew from the database; --repair removes it now."
    return [Finding(name, folder, f"The saved index is damaged: {damage.rstrip('.')}.", advice, repair="remove index")]


def _examine_snapshots(name: str, folder: Path) -> list[Finding]:
    kept = Snapshots(name, folder)
    found = []
    for snapshot in kept.list():
        path = kept.path(snapshot.name)
        with path.open("rb") as stream:
            is_whole = hashlib.file_digest(stream, "sha256").hexdigest() == snapshot.sha256
        if not is_whole:
            what = "The snapshot is damaged: its bytes are not those of its SHA-256."
            found.append(
                Finding(name, path, what, f"Delete it and take another one: `askew snapshot create --gallery {name}`.")
            )
    whole = {f"{snapshot.name}{suffix}" for snapshot in kept.list() for suffix in (".tar", ".json")}
    strays = [path for path in sorted((folder / "snapshots").glob("*")) if path.name not in whole]
    return found + [_orphan(name, path, "It is part of a snapshot that was never finished.") for path in strays]


def _leftovers(name: str, folder: Path) -> list[Finding]:
    """What a crash left beside the database, and what Askew does not know."""
    known = {
        "gallery.db",
        "gallery.db-wal",
        "gallery.db-shm",
        "index",
        "snapshots",
        "damaged",
        "redescribed-from.json",
        *FOLDERS,
    }
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".part"):
            found.append(_orphan(name, path, "It was being written when the server ended."))
        elif path.name not in known:
            found.append(
                Finding(
                    name, path, "Askew does not know this file.", "Move it away if it is not needed.", is_damage=False
                )
            )
    return found


def _orphan(name: str, path: Path, what: str) -> Finding:
    return Finding(
        name, path, what, "It takes space and does no harm; --repair removes it.", is_damage=False, repair="remove"
    )
