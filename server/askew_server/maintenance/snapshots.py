"""The snapshots of a gallery: made while it serves, listed, verified, deleted.

A snapshot is one file under `DATA/galleries/NAME/snapshots/` (see snapshot_archive.py), with a record next to it. The
database is copied by SQLite's online backup over a separate connection, inside one read transaction, so the copy is the
gallery at one sequence number and writers need not wait. The index is left out, because it can be rebuilt.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import Snapshot, SnapshotManifest, SnapshotMember, SnapshotName
from askew_client.errors import EncoderError
from askew_client.files import flush_folder, write_atomically
from askew_server.clock import Clock, utc_milliseconds
from askew_server.errors import Refusal
from askew_server.files import file_sha256, free_path, is_exhaustion, replacing
from askew_server.maintenance.gallery_copy import (
    LinkFiles,
    copy_gallery,
    gallery_files,
    link_files,
    named_files,
)
from askew_server.maintenance.snapshot_archive import DATABASE, Advance, is_photo, read_snapshot, write_snapshot
from askew_server.storage.checksums import damaged_rows
from askew_server.storage.expected_schema import schema_fault
from askew_server.storage.facts import GalleryFacts, examine_facts, read_facts, require_items_here
from askew_server.storage.photos import photo_sha256
from askew_server.storage.sqlite import Database

SPARE_BYTES = 64 * 1024 * 1024
"""What must stay free on the disk after a snapshot has been made or restored."""

FreeBytes = Callable[[Path], int]
"""Returns the free bytes of the disk that a path is on."""


def free_bytes(path: Path) -> int:
    """The free bytes of the disk that a path is on."""
    return shutil.disk_usage(path).free


class Snapshots:
    """The snapshots of one gallery. Used from any thread; snapshots are made one at a time, by a job or a command."""

    def __init__(
        self,
        gallery: str,
        folder: Path,
        *,
        clock: Clock = utc_milliseconds,
        free_bytes: FreeBytes = free_bytes,
        link_files: LinkFiles = link_files,
    ) -> None:
        """`folder`: the gallery's folder."""
        self._gallery = gallery
        self._source = folder
        self._folder = folder / "snapshots"
        self._clock = clock
        self._free_bytes = free_bytes
        self._link_files = link_files

    def list(self) -> list[Snapshot]:
        """All snapshots, newest first."""
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
                f"Gallery {self._gallery!r} has no snapshot {name[:80]!r}. Its snapshots: {known}.",
            )
        return found

    def path(self, name: str) -> Path:
        """The file of a snapshot. Raises Refusal (unknown-snapshot; damaged-snapshot if the file is missing)."""
        path = self._folder / f"{self.get(name).name}.tar"
        if not path.is_file():
            raise Refusal(
                ProblemKind.DAMAGED_SNAPSHOT,
                f"The file {path.name} of this snapshot of gallery {self._gallery!r} is missing, although the snapshot was made "
                "and never deleted. Put the file back, or delete the snapshot and make another one.",
            )
        return path

    def copy_to(self, name: str, path: Path) -> None:
        """Copy a snapshot's file to `path`, which is replaced once the copy is verified.

        Raises Refusal (unknown-snapshot, damaged-snapshot), OSError.
        """
        with replacing(path) as part:
            shutil.copyfile(self.path(name), part)
            read_snapshot(part, None, lambda done, total: None)

    def delete(self, name: str) -> None:
        """Delete a snapshot. Raises Refusal (unknown-snapshot)."""
        record = self._folder / f"{self.get(name).name}.json"
        # The record first: a record without its file is a snapshot that was lost.
        record.unlink(missing_ok=True)
        record.with_suffix(".tar").unlink(missing_ok=True)
        flush_folder(self._folder)

    def verify(self, name: str, advance: Advance) -> Snapshot:
        """Read a complete snapshot and compare every digest. Raises Refusal (unknown-snapshot, damaged-snapshot)."""
        snapshot = self.get(name)
        path = self.path(name)
        read_snapshot(path, None, advance)
        sha256 = file_sha256(path)
        if sha256 != snapshot.sha256:
            raise Refusal(
                ProblemKind.DAMAGED_SNAPSHOT,
                f"{path.name} has SHA-256 {sha256[:12]}…, but had {snapshot.sha256[:12]}… when it was made. Use another "
                "snapshot.",
            )
        return snapshot

    def remove_unfinished(self) -> None:
        """Remove what is left of snapshots that were being made when the server ended."""
        for path in self._folder.glob(".making-*"):
            shutil.rmtree(path, ignore_errors=True)

    def create(self, advance: Advance) -> Snapshot:
        """Make a snapshot of the gallery as it is now; reads and writes continue.

        Raises Refusal (would-not-fit; damaged-gallery where a file does not have the bytes that it should have).
        """
        self.require_possible()
        self._folder.mkdir(exist_ok=True)
        self._require_space()
        staging = Path(tempfile.mkdtemp(prefix=".making-", dir=self._folder))
        try:
            copy_gallery(self._gallery, self._source, staging, advance, link_files=self._link_files)
            manifest = self._manifest(staging)
            return self._pack(staging, manifest, advance)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def require_possible(self) -> None:
        """Raise Refusal (validation) for a gallery of which no snapshot can be made."""
        require_items_here(
            self._source,
            self._gallery,
            "A snapshot",
            "Back up the collection with Milvus's own tools (docs/milvus.md).",
        )

    def _require_space(self) -> None:
        database = sum(map(_size, self._source.glob(f"{DATABASE}*")))
        # The database is copied and then packed; photos and encoders are linked and then packed.
        needed = 2 * database + sum(map(_size, gallery_files(self._source))) + SPARE_BYTES
        require_space(self._source, needed, f"a snapshot of gallery {self._gallery!r}", self._free_bytes)

    def _manifest(self, staging: Path) -> SnapshotManifest:
        with Database.open(staging / DATABASE) as database:
            # A single file, without a separate log.
            database.execute("PRAGMA journal_mode = DELETE")
            fault = _first_fault(database)
            if fault is not None:
                raise Refusal(
                    ProblemKind.DAMAGED_GALLERY,
                    f"No snapshot was made: the database of gallery {self._gallery!r} is damaged ({fault[:200]}). Stop the "
                    "server and run `askew doctor --repair`, or restore an older snapshot.",
                )
            facts = GalleryFacts.read(database)
            items = int(database.value("SELECT count(*) FROM items"))
            photos = int(database.value("SELECT count(photo) FROM items"))
            named = sorted(named_files(database))
        return SnapshotManifest(
            gallery=self._gallery,
            created_at=self._clock(),
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
        packed = staging / "snapshot.part"
        with packed.open("xb") as stream:
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
        # The file comes first: a record always has its file, and a file without a record is removed by the doctor.
        packed.replace(self._folder / f"{snapshot.name}.tar")
        flush_folder(self._folder)
        write_atomically(self._folder / f"{snapshot.name}.json", snapshot.model_dump_json(indent=1).encode())
        return snapshot

    def _free_name(self, created_at: str) -> str:
        """A name made from the time, numbered where a snapshot of that name exists."""
        moment = datetime.fromisoformat(created_at).strftime("%Y%m%dT%H%M%SZ")
        return free_path(self._folder / f"{moment}.tar").stem

    def _read(self, record: Path) -> Snapshot | None:
        """The snapshot of a record; None if the record is invalid."""
        try:
            snapshot = Snapshot.model_validate_json(record.read_bytes())
        except (OSError, ValidationError) as error:
            if is_exhaustion(error):
                raise
            return None
        return snapshot if record.stem == snapshot.name else None


def require_space(folder: Path, needed: int, what: str, free_bytes: FreeBytes = free_bytes) -> None:
    """Check that `needed` bytes are free on the disk of a folder. Raises Refusal (would-not-fit)."""
    free = free_bytes(folder)
    if free < needed:
        raise Refusal(
            ProblemKind.WOULD_NOT_FIT,
            f"Expected {needed:,} free bytes on the disk for {what}, but {free:,} are free. Free space and try again.",
            {"needed": needed, "free": free},
        )


def _size(path: Path) -> int:
    """The bytes of a file; 0 if it was deleted since it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _first_fault(database: Database) -> str | None:
    """What is wrong with the database; None if it is valid."""
    verdict = str(database.value("PRAGMA quick_check(1)"))
    if verdict != "ok":
        return verdict
    fault = schema_fault(database) or examine_facts(read_facts(database))
    if fault is not None:
        return fault
    return next((faults[0] for faults in damaged_rows(database) if faults), None)


def _member(folder: Path, path: Path) -> SnapshotMember:
    name = path.relative_to(folder).as_posix()
    if is_photo(name):
        # A photo is named by its digest. Packing checks that it has these bytes.
        return SnapshotMember(path=name, bytes=path.stat().st_size, sha256=photo_sha256(name))
    if name.startswith("encoders/"):
        _check_encoder(name, path)
    return SnapshotMember(path=name, bytes=path.stat().st_size, sha256=file_sha256(path))


def _check_encoder(name: str, path: Path) -> None:
    try:
        is_intact = read_encoder_file(path).sha256 == path.stem
    except EncoderError:
        is_intact = False
    if not is_intact:
        raise Refusal(
            ProblemKind.DAMAGED_GALLERY,
            f"No snapshot was made: {name} is damaged. Send the encoder's file again: a student with `askew admit`, the "
            "teacher with PUT /v1/galleries/NAME.",
        )
