"""Examines a DATA directory that no server uses: what is wrong, what to do about it, and repairs where they are safe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import GalleryName
from askew_client.errors import AskewError
from askew_server.errors import DataInUse
from askew_server.gallery.folders import GalleryFolders
from askew_server.gallery.known_galleries import KnownGalleries
from askew_server.maintenance.acceptance import accept_finding
from askew_server.maintenance.examination import Acceptance, Finding, Repair, examine_gallery
from askew_server.maintenance.salvage import salvage_database
from askew_server.storage.checksums import install_checksums
from askew_server.storage.data_record import SECOND_RECORD, keys_record
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import is_in_milvus
from askew_server.storage.server_database import NAME, fault_of_server_database
from askew_server.storage.sqlite import Database

LOW_FREE_BYTES = 1_000_000_000
LOW_FREE_SHARE = 0.02


@dataclass
class Diagnosis:
    """What was found: galleries by name with their number of items (None if unreadable), and every finding.

    With each finding: a sentence on its repair, or None if it was not repaired.
    """

    galleries: dict[str, int | None] = field(default_factory=dict)
    findings: list[tuple[Finding, str | None]] = field(default_factory=list)
    free_bytes: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing is damaged, or all damage is repaired."""
        return all(repaired is not None or not finding.is_damage for finding, repaired in self.findings)


def examine_data(data: Path, *, repair: bool, accept_loss: bool = False) -> Diagnosis:
    """Examine DATA, holding its lock. `repair`: also repair what can be repaired safely.

    `accept_loss`: also let what is missing for good count as gone, so that the rest is served again.

    Raises AskewError when DATA does not exist, DataInUse when a server uses it.
    """
    galleries = data / "galleries"
    if not galleries.is_dir():
        raise AskewError(
            f"Expected a DATA directory with galleries in it, but there is no folder {galleries}. Check the path."
        )
    diagnosis = Diagnosis(free_bytes=shutil.disk_usage(data).free)
    lock = FileLock(data / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataInUse(
            f"{data} is in use, so its files change and cannot be examined. Stop the server first; `askew snapshot create "
            "--server URL` and `askew snapshot verify` work while it serves."
        ) from None
    except OSError as error:
        what = f"The directory does not accept writes: {error.strerror}."
        advice = "No server can use it like this. Check the disk and the file permissions."
        diagnosis.findings.append((Finding(None, data, what, advice), None))
        repair = accept_loss = False
    try:
        for finding in [*_examine_server(data), *_examine_disk(data), *_examine_jobs(data)]:
            diagnosis.findings.append((finding, _repair(finding) if repair else None))
        for folder in sorted(galleries.iterdir()):
            if folder.name != SECOND_RECORD:
                _examine_folder(folder, diagnosis, repair)
        for finding in _examine_known(data):
            diagnosis.findings.append((finding, None))
        if accept_loss:
            diagnosis.findings = [(each, done or accept_finding(data, each)) for each, done in diagnosis.findings]
    finally:
        lock.release()
    return diagnosis


def _examine_folder(folder: Path, diagnosis: Diagnosis, repair: bool) -> None:
    if folder.name.startswith("."):
        what = "A gallery that was being created, deleted or replaced when the server ended."
        finding = Finding(None, folder, what, "The next start of the server cleans it up.", is_damage=False)
        diagnosis.findings.append((finding, None))
        return
    try:
        TypeAdapter(GalleryName).validate_python(folder.name)
    except ValidationError:
        what = "A gallery cannot have this name, so it is not served."
        diagnosis.findings.append((Finding(None, folder, what, "Move it away.", is_damage=False), None))
        return
    found = examine_gallery(folder.name, folder)
    for finding in found:
        diagnosis.findings.append((finding, _repair(finding) if repair else None))
    if repair and any(finding.repair is Repair.SALVAGE for finding in found):
        # Photos and encoders could not be examined while the database was unreadable.
        for finding in examine_gallery(folder.name, folder):
            diagnosis.findings.append((finding, _repair(finding)))
    if _is_in_milvus(folder):
        what = "The items of this gallery are in Milvus, and were not examined."
        advice = "Nothing needs to be done; what Milvus holds is examined with its own tools."
        diagnosis.findings.append((Finding(folder.name, folder, what, advice, is_damage=False), None))
        return
    diagnosis.galleries[folder.name] = _count_items(folder)


def _examine_server(data: Path) -> list[Finding]:
    """What is wrong with DATA/askew.db: keys, aliases and jobs."""
    path = data / NAME
    fault = fault_of_server_database(data)
    if fault is not None:
        what = f"The server's database cannot be used: {fault}."
        advice = (
            "It holds keys, aliases and jobs; the galleries are not in it. Put back a copy of it. Without one, "
            "`askew doctor --accept-loss` goes on without what is lost; who had keys still serves nobody without a key."
        )
        return [Finding(None, path, what, advice, acceptance=Acceptance.SERVER)]
    if not path.exists():
        return []
    found = _examine_keys(data)
    try:
        with Database.open_read_only(path) as database:
            if not database.has_table("aliases"):
                return found
            aliases = database.rows("SELECT alias, gallery FROM aliases ORDER BY alias")
    except DatabaseError as error:
        return [Finding(None, path, f"The server's database cannot be read: {error}.", "Put back a copy of it.")]
    advice = "Let it name another gallery (PUT /v1/aliases/NAME), or delete it."
    return found + [
        Finding(None, path, f"The alias {alias!r} names the gallery {gallery!r}, which does not exist.", advice)
        for alias, gallery in aliases
        if not (data / "galleries" / str(gallery)).is_dir()
    ]


def _examine_keys(data: Path) -> list[Finding]:
    """Whether a DATA that had keys has none in its askew.db, which can be read."""
    path = data / NAME
    record = keys_record(data).read()
    if record is None or not record.had_keys:
        return []
    with Database.open_read_only(path) as database:
        if database.has_table("keys") and database.value("SELECT 1 FROM keys LIMIT 1") is not None:
            return []
    what = "There were keys, but the server's database has none, so nobody is served."
    advice = f"Put back a copy of it, or create a key: `askew key create NAME --scope admin --data {data}`."
    return [Finding(None, path, what, advice)]


def _examine_known(data: Path) -> list[Finding]:
    """The galleries that DATA is known to hold and whose folders are gone."""
    folders = data / "galleries"
    missing = KnownGalleries(data).missing(GalleryFolders(folders).found())
    advice = "Put the folder back, or check that its disk is mounted. If it was removed on purpose: `askew doctor --accept-loss`."
    return [
        Finding(name, folders / name, "The gallery's folder is missing.", advice, acceptance=Acceptance.GALLERY)
        for name in missing
    ]


def _examine_jobs(data: Path) -> list[Finding]:
    """Jobs that are not finished and whose input is gone; the server reports such a job as failed."""
    path = data / NAME
    try:
        with Database.open_read_only(path) as database:
            if not database.has_table("jobs"):
                return []
            sql = "SELECT id, kind FROM jobs WHERE state IN ('waiting', 'running') AND kind = 'photos' ORDER BY number"
            jobs = database.rows(sql)
    except DatabaseError:
        return []
    advice = "The next start reports the job as failed. Send the photos again."
    return [
        Finding(None, data / "jobs" / str(job), f"The input of the job {job}, of kind {kind!r}, is missing.", advice)
        for job, kind in jobs
        if not (data / "jobs" / str(job)).is_dir()
    ]


def _examine_disk(data: Path) -> list[Finding]:
    usage = shutil.disk_usage(data)
    if usage.free >= min(LOW_FREE_BYTES, LOW_FREE_SHARE * usage.total):
        return []
    what = f"Only {usage.free:,} of {usage.total:,} bytes are free on its disk; writes will soon be refused."
    return [Finding(None, data, what, "Free space, or delete old snapshots.", is_damage=False)]


def _repair(finding: Finding) -> str | None:
    """Repair one finding; a sentence on what was done, or None if nothing can be done safely."""
    match finding.repair:
        case Repair.REMOVE:
            if finding.file.is_dir():
                shutil.rmtree(finding.file)
            else:
                finding.file.unlink(missing_ok=True)
            return "It was removed."
        case Repair.REMOVE_INDEX:
            shutil.rmtree(finding.file)
            return "The index was removed; the next start rebuilds it."
        case Repair.SET_PHOTO_ASIDE:
            return _set_photo_aside(finding)
        case Repair.SALVAGE:
            return _salvage(finding)
        case None:
            return None


def _salvage(finding: Finding) -> str | None:
    folder = finding.file.parent
    earlier = sorted((folder / "damaged").glob("before-repair*"))
    if earlier and not _is_still_damaged(finding):
        return f"It was salvaged with the rest of the database; the damaged one is in {earlier[-1]}."
    try:
        result = salvage_database(folder)
    except AskewError:
        return None
    lost = f"{result.lost} could not be read" if result.lost else "none was lost"
    return f"{result.saved} items were saved into a new database, {lost}; the damaged one is in {result.kept_in}."


def _is_still_damaged(finding: Finding) -> bool:
    found = examine_gallery(finding.gallery or "", finding.file.parent)
    return any(each.repair is Repair.SALVAGE for each in found)


def _set_photo_aside(finding: Finding) -> str:
    """Let items continue without a photo that is lost; what is left of the file is kept."""
    photo = finding.file
    is_probe = photo.parent.name == "probes"
    folder = photo.parents[1] if is_probe else photo.parents[2]
    with Database.open(folder / "gallery.db") as database, database.transaction():
        if is_probe:
            database.execute("DELETE FROM probes WHERE photo = ?", (photo.name,))
        else:
            install_checksums(database)
            sql = "UPDATE items SET photo = NULL, checksum = item_checksum(label, id, payload, NULL) WHERE photo = ?"
            database.execute(sql, (photo.name,))
    if not photo.exists():
        return "Its items continue without a photo."
    aside = folder / "damaged" / "photos"
    aside.mkdir(parents=True, exist_ok=True)
    photo.rename(aside / photo.name)
    return f"Its items continue without a photo; what is left of the file is in {aside}."


def _is_in_milvus(folder: Path) -> bool:
    try:
        return is_in_milvus(folder)
    except DatabaseError:
        return False


def _count_items(folder: Path) -> int | None:
    """The number of items of a gallery; None if its database cannot be read."""
    try:
        with Database.open_read_only(folder / "gallery.db") as database:
            return int(database.value("SELECT count(*) FROM items"))
    except DatabaseError:
        return None
