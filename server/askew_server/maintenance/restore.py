"""Restore a gallery from a snapshot file: unpacked beside the galleries, examined there, taken in when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import SnapshotManifest
from askew_client.files import flush_folder
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.maintenance.examination import Finding, examine_gallery
from askew_server.maintenance.snapshot_archive import Advance, read_manifest, read_snapshot
from askew_server.maintenance.snapshots import SPARE_BYTES, require_space
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.sqlite import Database

_KEPT = ("snapshots", "damaged")


def restore_gallery(
    galleries: Catalog, name: str, archive: Path, advance: Advance, before_adoption: Callable[[], None]
) -> SnapshotManifest:
    """Make the gallery `name` out of a snapshot file: a new name, or that of a gallery that is set aside as damaged.

    The damaged one's snapshots stay, and its database is kept in the folder `damaged`. Raises Refusal
    (gallery-conflict, damaged-snapshot, would-not-fit); then everything is as it was. `before_adoption` is called when
    nothing is left to do but to take the gallery in.
    """
    galleries.check_free(name)
    manifest = read_manifest(archive)
    made = galleries.new_folder(name)
    needed = sum(member.bytes for member in manifest.members) + SPARE_BYTES
    require_space(made.parent, needed, f"the gallery of {archive.name}")
    try:
        made.mkdir()
        read_snapshot(archive, made, advance)
        _refuse_what_does_not_hold(name, made, archive, manifest)
        old = galleries.damaged_folder(name)
        if old is not None:
            _keep_of_damaged(old, made)
        # One flush for all the files: one for each of some hundred thousand photos would take hours.
        os.sync()
        before_adoption()
        galleries.adopt(made, name)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return manifest


def _refuse_what_does_not_hold(name: str, made: Path, archive: Path, manifest: SnapshotManifest) -> None:
    found: list[Finding] = [finding for finding in examine_gallery(name, made) if finding.is_damage]
    if found:
        raise _refusal(archive, f"{found[0].file.relative_to(made)}: {found[0].what}")
    try:
        with Database.open_read_only(made / "gallery.db") as database:
            facts = GalleryFacts.read(database)
            items = int(database.value("SELECT count(*) FROM items"))
    except (DatabaseError, ValueError) as error:
        raise _refusal(archive, f"its database cannot be read: {error}") from None
    if (facts.space, facts.dim, items) != (manifest.space, manifest.dim, manifest.items):
        raise _refusal(
            archive,
            f"its manifest states {manifest.items} items in {manifest.space}, its database holds {items} in {facts.space}",
        )


def _keep_of_damaged(old: Path, made: Path) -> None:
    """Link what must outlive a damaged gallery into the one that takes its place."""
    for folder in _KEPT:
        for path in (old / folder).rglob("*"):
            if path.is_file():
                _link(path, made / path.relative_to(old))
    aside = made / "damaged" / "before-restore"
    number = 1
    while aside.exists():
        number += 1
        aside = aside.with_name(f"before-restore-{number}")
    for path in old.glob("gallery.db*"):
        _link(path, aside / path.name)
    flush_folder(made)


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _refusal(archive: Path, reason: str) -> Refusal:
    return Refusal(
        ProblemKind.DAMAGED_SNAPSHOT,
        f"{archive.name} cannot be restored: {reason.rstrip('.')}. Nothing was changed; take another snapshot.",
    )
