"""The galleries that DATA is known to hold: one whose folder is gone is missed, instead of never having been there."""

from __future__ import annotations

import logging
from pathlib import Path

from askew_server.storage.data_record import GalleriesRecord, galleries_record
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import read_fact
from askew_server.storage.sqlite import Database


class KnownGalleries:
    """The record of galleries of one DATA directory. Changed by one thread at a time."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._record = galleries_record(data)
        self._log = logging.getLogger("askew.galleries")

    def missing(self, folders: list[Path]) -> dict[str, str]:
        """The galleries that are known and whose folders are not among these, by name, each with a sentence.

        A gallery that is there under another name was renamed, and is not missing.
        """
        known = self._known()
        found = {folder.name: created_at(folder) for folder in folders}
        renamed = {found[name] for name in found.keys() - known.keys()} - {None}
        return {
            name: self._sentence(name) for name in sorted(known.keys() - found.keys()) if known[name] not in renamed
        }

    def bring_up_to_date(self, folders: list[Path]) -> None:
        """Record the galleries in these folders, and no longer those that were renamed. The missing ones stay recorded."""
        missing, known = self.missing(folders), self._known()
        found = {folder.name: created_at(folder) or known.get(folder.name) for folder in folders}
        wanted = {**found, **{name: known[name] for name in missing}}
        if wanted != known or self._record.read() is None:
            self._write(wanted)
        else:
            self._record.mend()

    def add(self, folder: Path) -> None:
        """Record the gallery in a folder."""
        self._write({**self._known(), folder.name: created_at(folder)})

    def forget(self, name: str) -> None:
        """Record that a gallery was deleted."""
        known = self._known()
        if name in known:
            self._write({each: created for each, created in known.items() if each != name})

    def _known(self) -> dict[str, str | None]:
        record = self._record.read()
        return {} if record is None else record.galleries

    def _write(self, galleries: dict[str, str | None]) -> None:
        try:
            self._record.write(GalleriesRecord(galleries=dict(sorted(galleries.items()))))
        except OSError as error:
            # The galleries are there all the same; the next start records them.
            self._log.warning("the list of galleries in %s was not written: %s", self._data, error)

    def _sentence(self, name: str) -> str:
        return (
            f"The folder of gallery {name!r} is missing from {self._data / 'galleries'}, although the gallery was never deleted. "
            "Put the folder back, or check that its disk is mounted, then start the server again. If it was removed on purpose, "
            f"delete the gallery: `askew gallery delete {name}`, or `askew doctor --data {self._data} --accept-loss` while the "
            "server is stopped."
        )


def created_at(folder: Path) -> str | None:
    """When the gallery in a folder was created, which tells it from others; None if that cannot be read."""
    if not (folder / "gallery.db").is_file():
        return None
    try:
        with Database.open_read_only(folder / "gallery.db") as database:
            return read_fact(database, "created_at")
    except DatabaseError:
        return None
