"""A copy of a gallery at one moment, while others write to it: its database, and every file that the database names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.files import link_or_copy
from askew_server.maintenance.snapshot_archive import DATABASE, Advance, is_member_name
from askew_server.storage.encoders import encoder_member
from askew_server.storage.photos import photo_member
from askew_server.storage.sqlite import Database

FOLDERS = ("photos", "probes", "encoders")
"""The folders that belong to a gallery in addition to its database; the index can be rebuilt."""

_MAX_ROUNDS = 8

LinkFiles = Callable[[Path, Path, Iterable[str]], None]
"""link_files(source, target, names): link files from one folder into another."""


def link_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Link, or copy, the files of these paths within `source` into `target`. Missing files are passed over."""
    for name in names:
        # The copy names every file that it needs, so a file that was deleted in the meantime is found missing then.
        with suppress(FileExistsError, FileNotFoundError):
            link_or_copy(source / name, target / name)


def copy_gallery(
    gallery: str, source: Path, target: Path, advance: Advance, *, link_files: LinkFiles = link_files
) -> None:
    """Copy the database of the gallery in `source`, and link the files that the copy names, into an empty folder.

    SQLite's online backup works inside one read transaction: writers continue, and the copy is of one moment. Files are
    linked before a deletion can remove them: all of them beforehand, and new ones as soon as the moment is fixed.
    Raises Refusal (damaged-gallery where a file is missing; overloaded).
    """
    for _ in range(_MAX_ROUNDS):
        with Database.open_read_only(source / DATABASE) as database:
            newest = database.value("SELECT max(label) FROM items") or 0
            # Links are kept from round to round.
            link_files(source, target, (path.relative_to(source).as_posix() for path in gallery_files(source)))
            database.execute("BEGIN")
            link_files(source, target, named_files(database, newest))
            _back_up(database, target / DATABASE, advance)
        with Database.open(target / DATABASE) as copy:
            missing = sorted(path for path in named_files(copy) if not (target / path).exists())
        if not missing:
            return
        with Database.open_read_only(source / DATABASE) as database:
            # A file that is no longer named was deleted before it could be linked; one that is still named is lost.
            lost = sorted(path for path in named_files(database) if path in missing and not (source / path).exists())
        if lost:
            raise Refusal(
                ProblemKind.DAMAGED_GALLERY,
                f"No snapshot was made: {lost[0]} of gallery {gallery!r} is missing. Run `askew doctor` to see everything "
                "that is damaged; with --repair the gallery continues without it.",
            )
    raise Refusal(
        ProblemKind.OVERLOADED,
        f"Photos of gallery {gallery!r} are replaced faster than a snapshot can be made. Try again in a minute.",
        retry_after=60,
    )


def gallery_files(folder: Path) -> list[Path]:
    """The files that belong to a gallery in addition to its database, sorted."""
    found = [path for top in FOLDERS for path in (folder / top).rglob("*") if not path.is_symlink() and path.is_file()]
    return sorted(path for path in found if is_member_name(path.relative_to(folder).as_posix()))


def named_files(database: Database, after: int = -1) -> set[str]:
    """The photos, probes and encoder files that a gallery's database names, as paths within its folder.

    `after`: of the items' photos, only those of items with higher labels.
    """
    photos = database.rows("SELECT DISTINCT photo FROM items WHERE label > ? AND photo IS NOT NULL", (after,))
    named = {photo_member(photo) for (photo,) in photos}
    if database.has_table("encoders"):
        encoders = database.rows("SELECT sha256 FROM encoders WHERE has_file")
        named |= {encoder_member(sha256) for (sha256,) in encoders}
    if database.has_table("probes"):
        named |= {f"probes/{photo}" for (photo,) in database.each("SELECT photo FROM probes")}
    return named


def _back_up(database: Database, target: Path, advance: Advance) -> None:
    """Copy the database as the connection's open transaction sees it."""
    target.unlink(missing_ok=True)
    # Packing the copy is the other half of the work.
    database.back_up(target, lambda copied, total: advance(copied, 2 * total))
