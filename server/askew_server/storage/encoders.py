"""The encoders of one gallery: rows in its database, files next to it, and the facts that searches read.

Encoders are changed on the thread that owns the gallery's connection. Searches read `EncoderFacts`, which is immutable
and replaced as a whole, so that any thread may read it at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askew_client.contract.encoder_file import EncoderFile
from askew_client.contract.encoders import AdmissionReport, EncoderDescription, Runtime
from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.files import write_atomically
from askew_server.clock import utc_microseconds
from askew_server.errors import DamagedGallery, Refusal
from askew_server.storage.errors import EXHAUSTED, DatabaseError, DiskNotWritable
from askew_server.storage.sqlite import Database

ENCODERS_SCHEMA = """
CREATE TABLE IF NOT EXISTS encoders (
    id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, manifest TEXT NOT NULL, size INTEGER NOT NULL, has_file INTEGER NOT NULL,
    admitted_at TEXT NOT NULL, report TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS retired_encoders (id TEXT PRIMARY KEY, sha256 TEXT NOT NULL, retired_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS default_encoders (runtime TEXT PRIMARY KEY, id TEXT NOT NULL) STRICT;
"""


def encoder_member(sha256: str) -> str:
    """The path of an encoder's file within its gallery's folder."""
    return f"encoders/{sha256}.onnx"


@dataclass(frozen=True)
class EncoderFacts:
    """What a gallery knows about its encoders at one moment; immutable.

    `encoders`: newest first. `manifests`: JSON text by id. `files`: the file of each encoder that has one, by id.
    `retired`: when each retired encoder was retired, by id. `defaults`: the encoder chosen for each runtime.
    """

    gallery: str
    teacher: str
    encoders: tuple[EncoderDescription, ...]
    manifests: Mapping[str, str]
    files: Mapping[str, Path]
    retired: Mapping[str, str]
    defaults: Mapping[Runtime, str]

    @property
    def admitted(self) -> list[str]:
        """The ids of the encoders whose queries this gallery answers, its teacher included; newest first."""
        ids = [encoder.id for encoder in self.encoders]
        return ids if self.teacher in ids else [*ids, self.teacher]

    @property
    def teacher_file(self) -> Path | None:
        """The teacher's file; None if the gallery keeps none."""
        # A teacher with a report came through the gate: its queries are answered, but it does not describe the gallery.
        teachers = [each.id for each in self.encoders if each.role == "teacher" and each.report is None]
        return next((self.files[each] for each in teachers if each in self.files), None)

    def require_teacher_file(self) -> Path:
        """The teacher's file. Raises Refusal (cannot-describe when the gallery keeps none; damaged-gallery if it is missing)."""
        path = self.teacher_file
        if path is None:
            raise Refusal(
                ProblemKind.CANNOT_DESCRIBE,
                f"Gallery {self.gallery!r} keeps no file of its teacher {self.teacher}, so the server cannot describe photos "
                "for it. Send the teacher's file with PUT /v1/galleries/NAME, or send each photo with its vector "
                "(for probes: `askew probes add --encoder TEACHER`).",
            )
        return self._present(path, self.teacher)

    def check(self, encoder: str | None) -> None:
        """Check that the encoder a query names is admitted. None, for a query that names none, passes.

        Raises Refusal (encoder-not-admitted), also for a retired encoder.
        """
        if encoder is None or encoder == self.teacher or any(encoder == each.id for each in self.encoders):
            return
        if encoder in self.retired:
            raise self._retired(encoder)
        raise Refusal(
            ProblemKind.ENCODER_NOT_ADMITTED,
            f"The query names encoder {encoder[:140]!r}, which gallery {self.gallery!r} has not admitted. "
            f"Admit it with `askew admit`, or use one of: {', '.join(self._students or self.admitted)}.",
            {"received": encoder[:140], "admitted_encoders": self.admitted},
        )

    def file(self, encoder_id: str) -> Path:
        """The file of an encoder by id.

        Raises Refusal (unknown-encoder; encoder-not-admitted if it is retired; damaged-gallery if the file is missing).
        """
        if encoder_id in self.files:
            return self._present(self.files[encoder_id], encoder_id)
        if encoder_id in self.retired:
            raise self._retired(encoder_id)
        available = ", ".join(self.files) or "none"
        raise Refusal(
            ProblemKind.UNKNOWN_ENCODER,
            f"Gallery {self.gallery!r} keeps no file of encoder {encoder_id[:140]!r}. It keeps files of: {available}.",
        )

    def threshold_for(self, encoder: str | None, max_false_match: float) -> float:
        """The score that a share `max_false_match` of this encoder's queries without a match would still reach.

        Raises Refusal (validation) for an encoder without such measurements.
        """
        report = next((each.report for each in self.encoders if each.id == encoder and each.report), None)
        if report is None or report.false_matches is None:
            raise Refusal(
                ProblemKind.VALIDATION,
                "Expected, with max_false_match, the id of an encoder that was admitted with a report, "
                f"got {encoder!r}. {self._measured()}",
            )
        position = 100.0 * (1.0 - max_false_match)
        return float(np.interp(position, np.arange(101), report.false_matches.percentiles))

    def _measured(self) -> str:
        measured = [
            each.id for each in self.encoders if each.report is not None and each.report.false_matches is not None
        ]
        if not measured:
            return f"No encoder of gallery {self.gallery!r} has one: give score_threshold."
        return f"Name one of: {', '.join(measured)}. Or give score_threshold."

    def expected_match_scores(self) -> dict[str, float]:
        """The median score of matches at each encoder's admission, by id: live top-1 scores far below it show drift."""
        reports = {encoder.id: encoder.report for encoder in self.encoders}
        return {each: report.matches.percentiles[50] for each, report in reports.items() if report and report.matches}

    def _present(self, path: Path, encoder: str) -> Path:
        if not path.is_file():
            raise Refusal(
                ProblemKind.DAMAGED_GALLERY,
                f"The file of encoder {encoder[:140]} of gallery {self.gallery!r} is missing from the server's disk. Send it "
                "again: a student with `askew admit`, the teacher with PUT /v1/galleries/NAME.",
            )
        return path

    def _retired(self, encoder: str) -> Refusal:
        return Refusal(
            ProblemKind.ENCODER_NOT_ADMITTED,
            f"Gallery {self.gallery!r} retired encoder {encoder[:140]!r} on {self.retired[encoder][:10]} and no longer "
            f"answers its queries. {self._successors()}",
            {"received": encoder[:140], "admitted_encoders": self.admitted, "successors": self._students},
        )

    @property
    def _students(self) -> list[str]:
        return [each.id for each in self.encoders if each.role == "student"]

    def _successors(self) -> str:
        """What to do instead of using a retired student. Never the teacher: a phone cannot run it."""
        if self._students:
            return f"Describe the photo with one of its successors: {', '.join(self._students)}."
        return (
            "No student is admitted at present: send the photo itself to /search/photo, if this server takes photos, or ask "
            "/v1/encoders/best again later."
        )


class EncoderStore:
    """The encoders of one gallery. Methods not marked "any thread" belong to the thread that owns the connection."""

    def __init__(self, database: Database, folder: Path, gallery: str, teacher: Manifest) -> None:
        """Open the encoders. `database`: the gallery's; `folder`: of the files. Raises DamagedGallery."""
        self._db = database
        self._folder = folder
        self._gallery = gallery
        self._teacher = teacher
        self._examining = threading.Lock()
        folder.mkdir(exist_ok=True)
        try:
            self._db.execute_script(ENCODERS_SCHEMA)
            self._facts = self._read_facts()
        except (*EXHAUSTED, DiskNotWritable):
            raise
        except (DatabaseError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedGallery(f"The encoders of the gallery in {folder.parent} cannot be read: {reason}.") from None

    @property
    def facts(self) -> EncoderFacts:
        """The encoders at this moment (any thread)."""
        return self._facts

    @contextmanager
    def one_candidate(self) -> Iterator[None]:
        """Hold the gate: one candidate is examined at a time (any thread). Raises Refusal (overloaded)."""
        if not self._examining.acquire(blocking=False):
            raise Refusal(
                ProblemKind.OVERLOADED,
                f"The gate of gallery {self._gallery!r} is examining another candidate. Try again in 5 seconds.",
                retry_after=5,
            )
        try:
            yield
        finally:
            self._examining.release()

    def check_identity(self, file: EncoderFile) -> None:
        """Check that no other file has, or had, this encoder's name and version. Raises Refusal (encoder-conflict)."""
        identity = file.manifest.encoder_id
        sql = "SELECT sha256 FROM encoders WHERE id = ?1 UNION ALL SELECT sha256 FROM retired_encoders WHERE id = ?1"
        for (known,) in self._db.each(sql, (identity,)):
            if known != file.sha256:
                raise Refusal(
                    ProblemKind.ENCODER_CONFLICT,
                    f"Gallery {self._gallery!r} already knows an encoder {identity} with other bytes. An encoder never "
                    "changes: give the new file a new version.",
                    {"expected": known, "received": file.sha256},
                )

    def write_file(self, file: EncoderFile, content: bytes) -> None:
        """Write an encoder's file, named by its digest (any thread). It is used once `keep` was called for it."""
        write_atomically(self._path(file.sha256), content)

    def keep(self, file: EncoderFile, report: AdmissionReport | None) -> EncoderDescription:
        """Record an encoder, admitted or the teacher, whose file is written. Raises Refusal (encoder-conflict)."""
        self.check_identity(file)
        identity, manifest = file.manifest.encoder_id, file.manifest.model_dump_json(exclude_none=True)
        text = None if report is None else report.model_dump_json()
        row = (identity, file.sha256, manifest, file.size, 1, utc_microseconds(), text)
        with self._db.transaction():
            self._db.execute("DELETE FROM retired_encoders WHERE id = ?", (identity,))
            self._db.execute("INSERT OR REPLACE INTO encoders VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._facts = self._read_facts()
        return self._description(identity)

    def retire(self, encoder_id: str) -> EncoderDescription:
        """Stop answering an encoder's queries and remove its file; returns its last description.

        Raises Refusal: unknown-encoder, or encoder-in-use for the teacher.
        """
        description = self._description(encoder_id)
        if encoder_id == self._teacher.encoder_id or description.report is None:
            raise Refusal(
                ProblemKind.ENCODER_IN_USE,
                f"{encoder_id} is the teacher of gallery {self._gallery!r}: the gallery holds its vectors, so it cannot be "
                "retired. For another teacher, create another gallery.",
            )
        with self._db.transaction():
            self._db.execute("DELETE FROM encoders WHERE id = ?", (encoder_id,))
            self._db.execute("DELETE FROM default_encoders WHERE id = ?", (encoder_id,))
            row = (encoder_id, description.sha256, utc_microseconds())
            self._db.execute("INSERT OR REPLACE INTO retired_encoders VALUES (?, ?, ?)", row)
        self._facts = self._read_facts()
        self._path(description.sha256).unlink(missing_ok=True)
        return description

    def set_default(self, encoder_id: str, runtime: Runtime) -> EncoderDescription:
        """Choose the default encoder of a runtime. Raises Refusal (unknown-encoder)."""
        self._description(encoder_id)
        with self._db.transaction():
            self._db.execute("INSERT OR REPLACE INTO default_encoders VALUES (?, ?)", (runtime, encoder_id))
        self._facts = self._read_facts()
        return self._description(encoder_id)

    def read_again(self) -> None:
        """Read the facts again, after their tables were changed by another hand."""
        self._facts = self._read_facts()

    def _path(self, sha256: str) -> Path:
        return self._folder.parent / encoder_member(sha256)

    def _description(self, encoder_id: str) -> EncoderDescription:
        for encoder in self._facts.encoders:
            if encoder.id == encoder_id:
                return encoder
        raise Refusal(
            ProblemKind.UNKNOWN_ENCODER,
            f"Gallery {self._gallery!r} has no encoder {encoder_id[:140]!r}. It has: {', '.join(self._facts.admitted)}.",
        )

    def _read_facts(self) -> EncoderFacts:
        rows = self._db.rows(
            "SELECT id, sha256, manifest, size, has_file, admitted_at, report FROM encoders ORDER BY admitted_at DESC, id"
        )
        defaults: dict[Runtime, str] = dict(self._db.rows("SELECT runtime, id FROM default_encoders ORDER BY runtime"))
        encoders = []
        for identity, sha256, text, size, _, admitted_at, report in rows:
            manifest = Manifest.model_validate_json(text)
            encoders.append(
                EncoderDescription(
                    id=identity,
                    name=manifest.name,
                    version=manifest.version,
                    role=manifest.role,
                    space=manifest.space_id,
                    dim=manifest.dim,
                    photo_size=manifest.photo_size,
                    precision=manifest.precision,
                    sha256=sha256,
                    size=size,
                    galleries=[self._gallery],
                    admitted_at=admitted_at,
                    default_for=[runtime for runtime, chosen in defaults.items() if chosen == identity],
                    report=None if report is None else AdmissionReport.model_validate_json(report),
                )
            )
        return EncoderFacts(
            gallery=self._gallery,
            teacher=self._teacher.encoder_id,
            encoders=tuple(encoders),
            manifests={row[0]: row[2] for row in rows},
            files={row[0]: self._path(row[1]) for row in rows if row[4]},
            retired=dict(self._db.rows("SELECT id, retired_at FROM retired_encoders")),
            defaults=defaults,
        )
