"""What DATA has held: whether it ever had keys, and which galleries. Kept apart from what it describes, and twice.

Without it, a DATA whose askew.db or whose gallery is gone looks like one that never had it. Each record is a small JSON
file in DATA/record and, the same, in DATA/galleries/.record: whoever loses one of the folders still has the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from askew_client.files import write_atomically
from askew_server.storage.commit_mark import CommitMark

RECORD = "record"
"""The folder in DATA."""
SECOND_RECORD = ".record"
"""The folder in DATA/galleries."""


class Record(BaseModel):
    """A record, which is kept twice. `revision`: of the two copies, the one with the higher number counts."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    revision: int = 0


class KeysRecord(Record):
    """`had_keys`: a key was created once, so nobody is served without one."""

    had_keys: bool = False


class GalleriesRecord(Record):
    """`galleries`: the galleries that exist, by name, each with when it was created, if known."""

    galleries: dict[str, str | None] = {}


Each = TypeVar("Each", bound=Record)


class RecordFile(Generic[Each]):
    """One record, in its two places. Changed by one thread at a time."""

    def __init__(self, data: Path, name: str, kind: type[Each], if_unreadable: Callable[[], Each]) -> None:
        """`if_unreadable`: what counts if there are copies and all are damaged."""
        self._paths = [data / RECORD / name, data / "galleries" / SECOND_RECORD / name]
        self._kind = kind
        self._if_unreadable = if_unreadable
        self._log = logging.getLogger("askew.storage")

    def read(self) -> Each | None:
        """The record; None if there is none."""
        copies = [self._read(path) for path in self._paths]
        found = [copy for copy in copies if isinstance(copy, self._kind)]
        if found:
            return max(found, key=lambda copy: copy.revision)
        return self._if_unreadable() if False in copies else None

    def write(self, record: Each) -> None:
        """Replace both copies, on the disk when this returns. Raises OSError."""
        known = self.read()
        content = record.model_copy(update={"revision": 1 + (known.revision if known else 0)}).model_dump_json()
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content.encode())

    def mend(self) -> None:
        """Write both copies again if one of them is missing or damaged. A disk that takes no writes is not an error."""
        known = self.read()
        copies = [self._read(path) for path in self._paths]
        if known is None or copies == [known, known]:
            return
        self._log.warning("%s or its copy %s was lost or damaged; it is written again", *self._paths)
        try:
            self.write(known)
        except OSError as error:
            self._log.warning("%s was not written again: %s", self._paths[0], error)

    def _read(self, path: Path) -> Each | bool | None:
        """A copy; None if there is none, False if it cannot be read."""
        try:
            return self._kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            return False


def keys_record(data: Path) -> RecordFile[KeysRecord]:
    """Whether DATA ever had keys. If it cannot be read, it had."""
    return RecordFile(data, "keys.json", KeysRecord, lambda: KeysRecord(had_keys=True))


def galleries_record(data: Path) -> RecordFile[GalleriesRecord]:
    """The galleries of DATA."""
    return RecordFile(data, "galleries.json", GalleriesRecord, GalleriesRecord)


def server_mark(data: Path) -> CommitMark:
    """How many commits askew.db must hold; not next to it, so that `rm askew.db*` leaves it."""
    return CommitMark(data / RECORD / "askew.db-commits")
