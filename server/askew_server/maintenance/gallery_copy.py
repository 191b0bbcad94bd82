"""A copy of a gallery at one moment, while others write to it: its database, and every file that the database names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.maintenance.snapshot_archive import DATABASE, MEMBER_NAMES, Advance
from askew_server.storage.sqlite import Database

FOLDERS = ("photos", "probes", "encoders")
"""What of a gallery's folder belongs to it beside its database; the index is derived."""

_ROUNDS = 8


def copy_gallery(gallery: str, source: Path, target: Path, advance: Advance) -> None:
    """Copy the database of the gallery in `source`, and link the files that the copy names, into an empty folder.

    SQLite's online backup works inside one read transaction: writers go on, and the copy is of one moment. Files are
    linked before a deletion can take them away: all beforehand, and what came since as soon as the moment is fixed.
    Raises Refusal (damaged-gallery where a file is missing; overloaded).
    """
    for _ in range(_ROUNDS):
        with Database.open_read_only(source / DATABASE) as database:
            newest = database.value("SELECT max(label) FROM items") or 0
            # What is linked stays linked from round to round.
            _link(source, target, (path.relative_to(source).as_posix() for path in gallery_files(source)))
            database.execute("BEGIN")
            _link(source, target, named_files(database, newest))
            _back_up(database, target / DATABASE, advance)
        with Database.open(target / DATABASE) as copy:
            missing = sorted(path for path in named_files(copy) if not (target / path).exists())
        if not missing:
            return
        with Database.open_read_only(source / DATABASE) as database:
            # What nobody names any more was deleted in the moment between; what is still named is lost.
            lost = sorted(path for path in named_files(database) if path in missing and not (source / path).exists())
        if lost:
            raise Refusal(
                ProblemKind.DAMAGED_GALLERY,
                f"No snapshot was made: {lost[0]} of gallery {gallery!r} is missing. `askew doctor` names everything that is "
                "damaged, and --repair goes on without it.",
            )
    raise Refusal(
        ProblemKind.OVERLOADED,
        f"Photos of gallery {gallery!r} come and go faster than a snapshot can be taken. Try again later.",
        retry_after=60,
    )


def gallery_files(folder: Path) -> list[Path]:
    """The files beside the database that belong to a gallery, in an order that does not change."""
    found = [path for top in FOLDERS for path in (folder / top).rglob("*") if not path.is_symlink() and path.is_file()]
    return sorted(path for path in found if MEMBER_NAMES.fullmatch(path.relative_to(folder).as_posix()))


def named_files(database: Database, after: int = -1) -> set[str]:
    """The photos, probes and encoder files that a gallery's database names, as paths within its folder.

    `after`: of the items' photos only those of higher labels.
    """
    photos = database.rows("SELECT DISTINCT photo FROM items WHERE label > ? AND photo IS NOT NULL", (after,))
    named = {f"photos/{photo[:2]}/{photo}" for (photo,) in photos}
    if database.has_table("encoders"):
        encoders = database.rows("SELECT sha256 FROM encoders WHERE has_file")
        named |= {f"encoders/{sha256}.onnx" for (sha256,) in encoders}
    if database.has_table("probes"):
        named |= {f"probes/{photo}" for (photo,) in database.each("SELECT photo FROM probes")}
    return named


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        linked = target / name
        if linked.exists():
            continue
        linked.parent.mkdir(parents=True, exist_ok=True)
        # Deleted since it was named; whether that matters is seen when all are linked.
        with suppress(FileNotFoundError):
            try:
                os.link(source / name, linked)
            except FileNotFoundError:
                raise
            except OSError:
                # A file system without links, or one that has enough of them to this file.
                shutil.copyfile(source / name, linked)


def _back_up(database: Database, target: Path, advance: Advance) -> None:
    """Copy the database as the connection's open transaction sees it."""
    target.unlink(missing_ok=True)
    # Packing the copy is the other half of the work.
    database.back_up(target, lambda copied, total: advance(copied, 2 * total))
