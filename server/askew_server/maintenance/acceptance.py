"""Lets what is missing for good count as gone, because the owner of the disk says so."""

from __future__ import annotations

from pathlib import Path

from askew_server.gallery.known_galleries import KnownGalleries
from askew_server.maintenance.examination import Acceptance, Finding
from askew_server.storage.commit_mark import COMMITS, IN_USE, gallery_mark
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import is_count, read_fact
from askew_server.storage.server_database import accept_server_database
from askew_server.storage.sqlite import Database


def accept_finding(data: Path, finding: Finding) -> str | None:
    """Accept the loss that one finding is about; a sentence on what was done, or None if it is no such finding."""
    try:
        match finding.acceptance:
            case Acceptance.SERVER:
                return accept_server_database(data)
            case Acceptance.GALLERY:
                KnownGalleries(data).forget(finding.gallery or "")
                return "The gallery is no longer expected."
            case Acceptance.COMMITS:
                return _accept_commits(finding.file.parent)
            case None:
                return None
    except (DatabaseError, OSError):
        return None


def _accept_commits(folder: Path) -> str:
    with Database.open(folder / "gallery.db") as database:
        # The flag of a database in use says that its log was lost; it was, and the owner knows.
        database.execute("DELETE FROM facts WHERE key = ?", (IN_USE,))
        commits = read_fact(database, COMMITS) or "0"
        items = int(database.value("SELECT count(*) FROM items"))
    gallery_mark(folder).create(int(commits) if is_count(commits) else 0)
    return f"The gallery is taken as it is, with {items} items."
