"""Look through a DATA directory that no server uses: what is wrong in it, what to do, and repair of what is safe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import GalleryName
from askew_client.errors import AskewError
from askew_server.errors import DataInUse
from askew_server.maintenance.examination import Finding, examine_gallery
from askew_server.maintenance.salvage import salvage_database
from askew_server.storage.checksums import install_checksums
from askew_server.storage.errors import DatabaseError
from askew_server.storage.sqlite import Database

LEAST_FREE_BYTES = 1_000_000_000
LEAST_FREE_SHARE = 0.02


@dataclass
class Diagnosis:
    """What was found: each finding, with the sentence on its repair or None; galleries by name with their items."""

    galleries: dict[str, int | None] = field(default_factory=dict)
    findings: list[tuple[Finding, str | None]] = field(default_factory=list)
    free_bytes: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing is damaged, or everything that was is repaired."""
        return all(repaired is not None or not finding.is_damage for finding, repaired in self.findings)


def examine_data(data: Path, *, repair: bool) -> Diagnosis:
    """Examine DATA, holding its lock; with `repair`, also repair what can be repaired safely.

    Raises AskewError when there is no DATA, DataInUse when a server owns it.
    """
    galleries = data / "galleries"
    if not galleries.is_dir():
        raise AskewError(f"Expected a DATA directory with galleries in it, but there is no {galleries}.")
    diagnosis = Diagnosis(free_bytes=shutil.disk_usage(data).free)
    lock = FileLock(data / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataInUse(
            f"{data} is in use, so it cannot be examined: its files change. Stop the server first; `askew snapshot create "
            "--server URL` and `askew snapshot verify` work while it serves."
        ) from None
    except OSError as error:
        what = f"The directory takes no writes: {error.strerror}."
        diagnosis.findings.append(
            (Finding(None, data, what, "No server can own it so. See its disk and rights."), None)
        )
        repair = False
    try:
        for finding in [*_examine_server(data), *_examine_disk(data)]:
            diagnosis.findings.append((finding, _repair(finding) if repair else None))
        for folder in sorted(galleries.iterdir()):
            _examine(folder, diagnosis, repair)
    finally:
        lock.release()
    return diagnosis


def _examine(folder: Path, diagnosis: Diagnosis, repair: bool) -> None:
    if folder.name.startswith("."):
        what = "A gallery that was being made, deleted or replaced when the server ended."
        finding = Finding(None, folder, what, "The next start of the server clears it up.", is_damage=False)
        diagnosis.findings.append((finding, None))
        return
    try:
        TypeAdapter(GalleryName).validate_python(folder.name)
    except ValidationError:
        what = "No gallery can have this name, so it is not served."
        diagnosis.findings.append((Finding(None, folder, what, "Move it away.", is_damage=False), None))
        return
    found = examine_gallery(folder.name, folder)
    for finding in found:
        diagnosis.findings.append((finding, _repair(finding) if repair else None))
    if repair and any(finding.repair == "salvage" for finding in found):
        # The photos and encoders of a salvaged database could not be looked at before.
        for finding in examine_gallery(folder.name, folder):
            diagnosis.findings.append((finding, _repair(finding)))
    diagnosis.galleries[folder.name] = _items(folder)


def _examine_server(data: Path) -> list[Finding]:
    """What is wrong with DATA/askew.db: keys, aliases and jobs."""
    path = data / "askew.db"
    if not path.exists():
        return []
    advice = (
        "Put a copy of it back; or move it away, to begin without keys, aliases and jobs. The galleries are not in it."
    )
    try:
        with Database.open_read_only(path) as database:
            verdict = [str(row[0]) for row in database.each("PRAGMA integrity_check(5)")]
            if verdict != ["ok"]:
                what = f"SQLite finds the server's database damaged: {'; '.join(verdict)[:400]}."
                return [Finding(None, path, what, advice)]
            if not database.has_table("aliases"):
                return []
            lost = [
                (alias, gallery)
                for alias, gallery in database.each("SELECT alias, gallery FROM aliases ORDER BY alias")
                if not (data / "galleries" / str(gallery)).is_dir()
            ]
    except DatabaseError as error:
        return [Finding(None, path, f"The server's database cannot be read: {error}.", advice)]
    advice = "Let it name another gallery (PUT /v1/aliases/NAME), or delete it."
    return [
        Finding(None, path, f"The alias {alias!r} names the gallery {gallery!r}, which is not there.", advice)
        for alias, gallery in lost
    ]


def _examine_disk(data: Path) -> list[Finding]:
    usage = shutil.disk_usage(data)
    if usage.free >= min(LEAST_FREE_BYTES, LEAST_FREE_SHARE * usage.total):
        return []
    what = f"Only {usage.free:,} of {usage.total:,} bytes are free on its disk; writes will soon be refused."
    return [Finding(None, data, what, "Free space, or delete old snapshots.", is_damage=False)]


def _repair(finding: Finding) -> str | None:
    """Repair one thing; a sentence on what was done, None for what cannot be repaired safely."""
    if finding.repair == "remove":
        if finding.file.is_dir():
            shutil.rmtree(finding.file)
        else:
            finding.file.unlink(missing_ok=True)
        return "It was removed."
    if finding.repair == "remove index":
        shutil.rmtree(finding.file)
        return "The index was removed; the next start builds it anew."
    if finding.repair == "set photo aside":
        return _set_photo_aside(finding)
    if finding.repair == "salvage":
        return _salvage(finding)
    return None


def _salvage(finding: Finding) -> str | None:
    folder = finding.file.parent
    kept = sorted((folder / "damaged").glob("before-repair*"))
    if kept and not _is_damaged_still(finding):
        return f"It was salvaged together with the rest of the database; the damaged one lies in {kept[-1]}."
    try:
        saved = salvage_database(folder)
    except AskewError:
        return None
    lost = f"{saved.lost} could not be read" if saved.lost else "none that was there is lost"
    return f"{saved.saved} items were saved into a new database, {lost}; the damaged one lies in {saved.kept_in}."


def _is_damaged_still(finding: Finding) -> bool:
    found = examine_gallery(finding.gallery or "", finding.file.parent)
    return any(each.repair == "salvage" for each in found)


def _set_photo_aside(finding: Finding) -> str | None:
    """Let the items go on without a photo that is lost; what is left of it is kept."""
    folder = finding.file.parents[2] if finding.file.parents[1].name == "photos" else finding.file.parents[1]
    with Database.open(folder / "gallery.db") as database, database.transaction():
        if finding.file.parent.name == "probes":
            database.execute("DELETE FROM probes WHERE photo = ?", (finding.file.name,))
        else:
            install_checksums(database)
            sql = "UPDATE items SET photo = NULL, checksum = item_checksum(label, id, payload, NULL) WHERE photo = ?"
            database.execute(sql, (finding.file.name,))
    if not finding.file.exists():
        return "Its items go on without a photo."
    aside = folder / "damaged" / "photos"
    aside.mkdir(parents=True, exist_ok=True)
    finding.file.rename(aside / finding.file.name)
    return f"Its items go on without a photo; what is left of it lies in {aside}."


def _items(folder: Path) -> int | None:
    """How many items a gallery has; None where its database cannot be read."""
    try:
        with Database.open_read_only(folder / "gallery.db") as database:
            return int(database.value("SELECT count(*) FROM items"))
    except DatabaseError:
        return None
