"""The probe set of a gallery: photos with the teacher's vectors, which the gate shows to candidates.

A gallery whose items were sent as vectors has no photos that a candidate could describe; its probe set has them. Probes
are rows in the gallery's database, with their photos in `probes/`, apart from the items.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.encoders import Probe, ProbeList
from askew_client.contract.problems import ProblemKind
from askew_client.files import write_atomically
from askew_server.clock import utc_microseconds
from askew_server.errors import DamagedGallery, Refusal
from askew_server.storage.errors import DatabaseError
from askew_server.storage.photos import photo_sha256
from askew_server.storage.sqlite import Database

FEWEST_PROBES = 10
"""With fewer probes the gate uses the photos of items; with fewer of those it judges no candidate."""

MAX_PROBES = 1_000

PROBES_SCHEMA = """
CREATE TABLE IF NOT EXISTS probes (
    id TEXT PRIMARY KEY, vector BLOB NOT NULL, photo TEXT NOT NULL, added_at TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class StoredProbe:
    """A probe: the teacher's vector, float32 [D] of unit length, and the path of the photo."""

    id: str
    vector: NDArray[np.float32]
    photo: Path


class ProbeStore:
    """The probe set of one gallery. Used by the thread that owns the gallery's connection."""

    def __init__(self, database: Database, folder: Path, gallery: str) -> None:
        """Open the probe set. `database`: the gallery's; `folder`: of the photos. Raises DamagedGallery."""
        self._db = database
        self._folder = folder
        self._gallery = gallery
        folder.mkdir(exist_ok=True)
        try:
            self._db.execute_script(PROBES_SCHEMA)
        except DatabaseError as error:
            raise DamagedGallery(f"The probes of the gallery in {folder.parent} cannot be read: {error}.") from None

    def put(self, probe_id: str, vector: NDArray[np.float32], photo: bytes, suffix: str) -> Probe:
        """Add or replace a probe: float32 [D] of unit length, the photo's bytes, and the suffix of its file.

        Raises Refusal (validation) when the set is full.
        """
        old = self._photo_of(probe_id)
        if old is None and self._count() >= MAX_PROBES:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Expected at most {MAX_PROBES} probes, and gallery {self._gallery!r} has that many already. Remove some first "
                "(DELETE …/probes/ID); the gate shows a candidate 200 of them.",
            )
        digest = hashlib.sha256(photo).hexdigest()
        probe = Probe(id=probe_id, photo_sha256=digest, added_at=utc_microseconds())
        name = digest + suffix
        write_atomically(self._folder / name, photo)
        row = (probe_id, np.ascontiguousarray(vector, dtype="<f4").tobytes(), name, probe.added_at)
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO probes VALUES (?, ?, ?, ?)", row)
        if old is not None:
            self._unlink_if_unused(old)
        return probe

    def remove(self, probe_id: str) -> None:
        """Remove a probe, and its photo if no other probe has it. Raises Refusal (unknown-probe)."""
        photo = self._photo_of(probe_id)
        if photo is None:
            raise Refusal(
                ProblemKind.UNKNOWN_PROBE,
                f"The probe set of gallery {self._gallery!r} has no probe {probe_id[:200]!r}. GET …/probes lists them.",
            )
        with self._db.transaction():
            self._db.execute("DELETE FROM probes WHERE id = ?", (probe_id,))
        self._unlink_if_unused(photo)

    def describe_all(self) -> ProbeList:
        """The probe set as the API shows it, by id."""
        rows = self._db.rows("SELECT id, photo, added_at FROM probes ORDER BY id")
        probes = [Probe(id=each, photo_sha256=photo_sha256(photo), added_at=added) for each, photo, added in rows]
        return ProbeList(probes=probes, needed=FEWEST_PROBES)

    def all(self) -> list[StoredProbe]:
        """All probes, by id. Raises Refusal (damaged-gallery) where the photo of one is missing."""
        rows = self._db.rows("SELECT id, vector, photo FROM probes ORDER BY id")
        probes = [
            StoredProbe(each, np.frombuffer(vector, dtype="<f4").astype(np.float32), self._folder / photo)
            for each, vector, photo in rows
        ]
        lost = [probe.id for probe in probes if not probe.photo.is_file()]
        if lost:
            raise Refusal(
                ProblemKind.DAMAGED_GALLERY,
                f"The photos of {len(lost)} of {len(probes)} probes of gallery {self._gallery!r} are missing, the first of "
                f"{lost[0]!r}. Send them again, or remove these probes (DELETE …/probes/ID).",
            )
        return probes

    def _count(self) -> int:
        return int(self._db.value("SELECT count(*) FROM probes"))

    def _photo_of(self, probe_id: str) -> str | None:
        photo = self._db.value("SELECT photo FROM probes WHERE id = ?", (probe_id,))
        return None if photo is None else str(photo)

    def _unlink_if_unused(self, photo: str) -> None:
        if self._db.row("SELECT 1 FROM probes WHERE photo = ? LIMIT 1", (photo,)) is None:
            (self._folder / photo).unlink(missing_ok=True)
