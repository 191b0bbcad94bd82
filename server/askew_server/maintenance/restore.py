"""Restore a gallery from a snapshot file: unpack it next to the galleries, examine it there, and adopt it if complete."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import SnapshotManifest
from askew_client.files import flush_folder
from askew_server.errors import DamagedGallery, Refusal
from askew_server.files import free_path, link_or_copy
from askew_server.gallery.catalog import Catalog
from askew_server.maintenance.examination import examine_gallery
from askew_server.maintenance.snapshot_archive import Advance, read_manifest, read_snapshot
from askew_server.maintenance.snapshots import SPARE_BYTES, FreeBytes, free_bytes, require_space
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import MILVUS_PLACE, GalleryFacts, read_facts
from askew_server.storage.sqlite import Database

_KEPT_FOLDERS = ("snapshots", "damaged")
_SECONDS_BEFORE_NEXT_TRY = 0.5


def restore_gallery(
    galleries: Catalog,
    name: str,
    archive: Path,
    advance: Advance,
    before_adoption: Callable[[], None],
    *,
    free_bytes: FreeBytes = free_bytes,
) -> SnapshotManifest:
    """Make the gallery `name` from a snapshot file. The name is a new one, or that of a damaged gallery, set aside.

    The damaged gallery's snapshots are kept, and its database goes into the folder `damaged`. `before_adoption` is called
    when everything is done but taking the gallery in, which waits while too many others are in use. Raises Refusal
    (gallery-conflict, damaged-snapshot, would-not-fit); then nothing has changed.
    """
    galleries.check_free(name)
    manifest = read_manifest(archive)
    made = galleries.new_folder(name)
    needed = sum(member.bytes for member in manifest.members) + SPARE_BYTES
    require_space(made.parent, needed, f"the gallery of {archive.name}", free_bytes)
    try:
        made.mkdir()
        read_snapshot(archive, made, advance)
        _check_complete(name, made, archive, manifest)
        damaged = galleries.damaged_folder(name)
        if damaged is not None:
            _keep_from_damaged(damaged, made)
        # One flush for all the files: one for each of some hundred thousand photos would take hours.
        os.sync()
        before_adoption()
        size = archive.stat().st_size
        try:
            _adopt(galleries, made, name, lambda: advance(size, size))
        except DamagedGallery as error:
            raise _refusal(archive, str(error)) from None
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return manifest


def _check_complete(name: str, made: Path, archive: Path, manifest: SnapshotManifest) -> None:
    """Check the unpacked gallery, and that it is what the manifest states. Raises Refusal (damaged-snapshot)."""
    try:
        for finding in examine_gallery(name, made):
            if finding.is_damage:
                raise _refusal(archive, f"{finding.file.relative_to(made)}: {finding.what}")
        with Database.open_read_only(made / "gallery.db") as database:
            facts = GalleryFacts.read(database)
            # The file may come from anyone, and would make this server connect to a place of their choice.
            if MILVUS_PLACE in read_facts(database):
                raise _refusal(archive, "its items are in Milvus, and no snapshot is made of such a gallery")
            items, photos = database.row("SELECT count(*), count(photo) FROM items") or (0, 0)
    # The file may come from anyone, so what no check foresaw is the file's fault, too, and not the server's.
    except (DatabaseError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise _refusal(archive, f"its database cannot be read: {type(error).__name__}: {str(error)[:200]}") from None
    found = {
        "items": items,
        "photos": photos,
        "space": facts.space,
        "dim": facts.dim,
        "teacher": facts.teacher.encoder_id,
        "sequence": facts.sequence,
    }
    stated = manifest.model_dump()
    for member, value in found.items():
        if stated[member] != value:
            raise _refusal(archive, f"its manifest states {member} {str(stated[member])[:80]}, its database {value}")


def _adopt(galleries: Catalog, made: Path, name: str, wait: Callable[[], None]) -> None:
    """Serve the gallery once there is room for another one that is awake. `wait` raises what ends the waiting."""
    while True:
        try:
            galleries.adopt(made, name)
            return
        except Refusal as error:
            if error.kind is not ProblemKind.OVERLOADED:
                raise
        wait()
        time.sleep(_SECONDS_BEFORE_NEXT_TRY)


def _keep_from_damaged(damaged: Path, made: Path) -> None:
    """Link the snapshots and the database of a damaged gallery into the one that replaces it."""
    for folder in _KEPT_FOLDERS:
        for path in (damaged / folder).rglob("*"):
            if path.is_file():
                link_or_copy(path, made / path.relative_to(damaged))
    aside = free_path(made / "damaged" / "before-restore")
    for path in damaged.glob("gallery.db*"):
        link_or_copy(path, aside / path.name)
    flush_folder(made)


def _refusal(archive: Path, reason: str) -> Refusal:
    return Refusal(
        ProblemKind.DAMAGED_SNAPSHOT,
        f"{archive.name} cannot be restored: {reason.rstrip('.')}. Nothing was changed; restore another snapshot.",
    )
