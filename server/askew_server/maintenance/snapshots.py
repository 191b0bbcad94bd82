"""Snapshots of a gallery while it serves: made, listed, verified, deleted.

A snapshot is one file under `DATA/galleries/NAME/snapshots/` (see snapshot_file.py), with a record beside it. The
database is copied by SQLite's online backup over a connection of its own, inside one read transaction: writers go on
meanwhile, and the copy is the gallery at one sequence number. The index is derived and is left out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import Snapshot, SnapshotManifest, SnapshotMember, SnapshotName
from askew_client.errors import EncoderError
from askew_client.files import flush_folder, write_atomically
from askew_server.errors import Refusal
from askew_server.maintenance.gallery_copy import copy_gallery, gallery_files, named_files
from askew_server.maintenance.snapshot_archive import DATABASE, Advance, is_photo, read_snapshot, write_snapshot
from askew_server.storage.checksums import damaged_rows, has_checksums
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.sqlite import Database

SPARE_BYTES = 64 * 1024 * 1024
"""What must stay free on the disk when a snapshot has been made or restored."""


class Snapshots:
    """The snapshots that one gallery keeps."""

    def __init__(self, gallery: str, folder: Path) -> None:
        """`folder`: the gallery's own."""
        self._gallery = gallery
        self._source = folder
        self._folder = folder / "snapshots"

    def list(self) -> list[Snapshot]:
        """All snapshots, the newest first."""
        found = [self._read(record) for record in self._folder.glob("*.json")]
        return sorted((each for each in found if each), key=lambda each: (each.created_at, each.name), reverse=True)

    def get(self, name: str) -> Snapshot:
        """One snapshot. Raises Refusal (unknown-snapshot)."""
        try:
            TypeAdapter(SnapshotName).validate_python(name)
        except ValidationError:
            found = None
        else:
            found = self._read(self._folder / f"{name}.json")
        if found is None:
            known = ", ".join(each.name for each in self.list()[:20]) or "none yet"
            raise Refusal(
                ProblemKind.UNKNOWN_SNAPSHOT,
                f"Gallery {self._gallery!r} keeps no snapshot {name[:80]!r}. It keeps: {known}.",
            )
        return found

    def path(self, name: str) -> Path:
        """The file of a snapshot. Raises Refusal (unknown-snapshot)."""
        return self._folder / f"{self.get(name).name}.tar"

    def delete(self, name: str) -> None:
        """Delete a snapshot. Raises Refusal (unknown-snapshot)."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        flush_folder(self._folder)

    def verify(self, name: str, advance: Advance) -> Snapshot:
        """Read a whole snapshot and compare every digest. Raises Refusal (unknown-snapshot, damaged-snapshot)."""
        kept = self.get(name)
        path = self.path(name)
        read_snapshot(path, None, advance)
        with path.open("rb") as stream:
            came = hashlib.file_digest(stream, "sha256").hexdigest()
        if came != kept.sha256:
            raise Refusal(
                ProblemKind.DAMAGED_SNAPSHOT,
                f"{path.name} has SHA-256 {came[:12]}…, but {kept.sha256[:12]}… when it was made. Take another one.",
            )
        return kept

    def remove_unfinished(self) -> None:
        """Remove what a snapshot left that was interrupted by the end of the server."""
        for path in self._folder.glob(".making-*"):
            shutil.rmtree(path, ignore_errors=True)

    def create(self, advance: Advance) -> Snapshot:
        """Make a snapshot of the gallery as it is now; others may read and write meanwhile.

        Raises Refusal (would-not-fit; damaged-gallery, where a file does not have the bytes it should have).
        """
        self._folder.mkdir(exist_ok=True)
        self._require_space()
        staging = Path(tempfile.mkdtemp(prefix=".making-", dir=self._folder))
        try:
            copy_gallery(self._gallery, self._source, staging, advance)
            manifest = self._manifest(staging)
            return self._pack(staging, manifest, advance)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _require_space(self) -> None:
        database = sum(map(_size, self._source.glob(f"{DATABASE}*")))
        # The database is copied first and packed then; photos and encoders are linked first.
        needed = 2 * database + sum(map(_size, gallery_files(self._source))) + SPARE_BYTES
        require_space(self._source, needed, f"a snapshot of gallery {self._gallery!r}")

    def _manifest(self, staging: Path) -> SnapshotManifest:
        with Database.open(staging / DATABASE) as database:
            # One file without a log beside it.
            database.execute("PRAGMA journal_mode = DELETE")
            verdict = str(database.value("PRAGMA quick_check(1)"))
            faults = [verdict] if verdict != "ok" else _first_faults(database)
            if faults:
                raise Refusal(
                    ProblemKind.DAMAGED_GALLERY,
                    f"No snapshot was made: the database of gallery {self._gallery!r} is damaged ({faults[0][:200]}). "
                    "Stop the server and run `askew doctor --repair`, or restore an older snapshot.",
                )
            facts = GalleryFacts.read(database)
            items = int(database.value("SELECT count(*) FROM items"))
            photos = int(database.value("SELECT count(photo) FROM items"))
            named = sorted(named_files(database))
        return SnapshotManifest(
            gallery=self._gallery,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            askew=version("askew-server"),
            space=facts.space,
            dim=facts.dim,
            teacher=facts.teacher.encoder_id,
            items=items,
            photos=photos,
            sequence=facts.sequence,
            members=[_member(staging, staging / name) for name in [DATABASE, *named]],
        )

    def _pack(self, staging: Path, manifest: SnapshotManifest, advance: Advance) -> Snapshot:
        beside = staging / "snapshot.part"
        with beside.open("xb") as stream:
            length, sha256 = write_snapshot(staging, manifest, stream, advance)
            stream.flush()
            os.fsync(stream.fileno())
        snapshot = Snapshot(
            name=self._free_name(manifest.created_at),
            gallery=self._gallery,
            created_at=manifest.created_at,
            items=manifest.items,
            photos=manifest.photos,
            bytes=length,
            sha256=sha256,
            space=manifest.space,
        )
        # The file first: a record is never without its file, and a file without a record is an orphan.
        beside.replace(self._folder / f"{snapshot.name}.tar")
        flush_folder(self._folder)
        write_atomically(self._folder / f"{snapshot.name}.json", snapshot.model_dump_json(indent=1).encode())
        return snapshot

    def _free_name(self, created_at: str) -> str:
        """A name after the moment; numbered where the clock shows a moment for the second time."""
        moment = datetime.fromisoformat(created_at).strftime("%Y%m%dT%H%M%SZ")
        names = [moment, *(f"{moment}-{number}" for number in range(2, 10_000))]
        return next(name for name in names if not (self._folder / f"{name}.tar").exists())

    def _read(self, record: Path) -> Snapshot | None:
        """The record of a snapshot; None where there is none, or no file to it."""
        try:
            snapshot = Snapshot.model_validate_json(record.read_bytes())
        except (OSError, ValidationError):
            return None
        is_there = record.with_suffix(".tar").is_file() and record.stem == snapshot.name
        return snapshot if is_there else None


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse (would-not-fit) what would not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refusal(
            ProblemKind.WOULD_NOT_FIT,
            f"Expected {needed:,} free bytes on the disk for {what}, but {free:,} are free. Free space and try again.",
            {"needed": needed, "free": free},
        )


def _size(path: Path) -> int:
    """The bytes of a file; 0 for one that was deleted since it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _first_faults(database: Database) -> list[str]:
    """What is wrong with the first rows that do not hold; a gallery of layout 1 has nothing to tell it by."""
    return next(filter(None, damaged_rows(database)), []) if has_checksums(database) else []


def _member(folder: Path, path: Path) -> SnapshotMember:
    name = path.relative_to(folder).as_posix()
    if is_photo(name):
        # A photo is named by its digest; that it has these bytes is checked when it is packed.
        return SnapshotMember(path=name, bytes=path.stat().st_size, sha256=path.stem)
    if name.startswith("encoders/"):
        _require_encoder(name, path)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SnapshotMember(path=name, bytes=path.stat().st_size, sha256=digest)


def _require_encoder(name: str, path: Path) -> None:
    try:
        whole = read_encoder_file(path).sha256 == path.stem
    except EncoderError:
        whole = False
    if not whole:
        raise Refusal(
            ProblemKind.DAMAGED_GALLERY,
            f"No snapshot was made: {name} is damaged. Send this encoder's file again: `askew admit`, or "
            "PUT /v1/galleries/NAME for the teacher.",
        )
