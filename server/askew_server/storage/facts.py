"""The facts of a gallery: its space, dimension, teacher, sequence number and others, one row each; and, in a file, its origin."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.files import write_atomically
from askew_server.errors import Refusal
from askew_server.storage.commit_mark import COMMITS, IN_USE
from askew_server.storage.sqlite import Database

FACTS_SCHEMA = "CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"

MILVUS_PLACE = "milvus"
"""The name of the fact that says where in Milvus the gallery's items are; a gallery without it has them in its database."""

ORIGIN = "redescribed-from.json"
"""The file, beside the database, that names the gallery whose photos are described into this one. Only that gallery may fill
it again: what is in it came from there.
"""

_COUNT = re.compile("0|[1-9][0-9]{0,15}")
_COUNTS = {COMMITS, IN_USE}
_KNOWN = {"layout", "space", "dim", "teacher", "sequence", "created_at", "index_kind", MILVUS_PLACE, *_COUNTS}


@dataclass(frozen=True)
class GalleryFacts:
    """The facts that every gallery has. `dim`: components of its vectors. `sequence`: the number of the last change."""

    space: str
    dim: int
    teacher: Manifest
    sequence: int

    @classmethod
    def read(cls, database: Database) -> Self:
        """Read the facts from a gallery's database. Raises DatabaseError, or ValueError when they are inconsistent."""
        facts = read_facts(database)
        fault = examine_facts(facts)
        if fault is not None:
            raise ValueError(fault)
        teacher = Manifest.model_validate_json(facts["teacher"])
        return cls(facts["space"], int(facts["dim"]), teacher, int(facts["sequence"]))

    @staticmethod
    def of_new_gallery(teacher: Manifest) -> dict[str, str]:
        """The facts, by key, that a new gallery gets from its teacher."""
        return {"space": teacher.space_id, "dim": str(teacher.dim), "teacher": teacher.model_dump_json()}


def is_in_milvus(folder: Path) -> bool:
    """Whether the items of the gallery in a folder are in Milvus. Raises DatabaseError."""
    with Database.open_read_only(folder / "gallery.db") as database:
        return read_fact(database, MILVUS_PLACE) is not None


def require_items_here(folder: Path, gallery: str, what: str, instead: str) -> None:
    """Refuse what needs a gallery's items in its own database. `what`: such as "A snapshot"; `instead`: a sentence.

    Raises Refusal (validation), DatabaseError.
    """
    if is_in_milvus(folder):
        raise Refusal(
            ProblemKind.VALIDATION,
            f"{what} is made of items in the gallery's own database, but those of gallery {gallery!r} are in Milvus. {instead}",
        )


def read_facts(database: Database) -> dict[str, str]:
    """All facts by key, unchecked. Raises DatabaseError."""
    return {str(key): str(value) for key, value in database.rows("SELECT key, value FROM facts")}


def read_fact(database: Database, key: str) -> str | None:
    """One fact, unchecked; None if it is missing. Raises DatabaseError."""
    value = database.value("SELECT value FROM facts WHERE key = ?", (key,))
    return None if value is None else str(value)


def write_fact(database: Database, key: str, value: str) -> None:
    """Add or replace one fact. Raises DatabaseError."""
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))


def examine_facts(facts: dict[str, str]) -> str | None:
    """What is wrong with the facts of a gallery; None if they are valid."""
    try:
        teacher = Manifest.model_validate_json(facts.get("teacher", ""))
    except ValidationError as error:
        return f"its teacher's manifest is inconsistent ({error.errors()[0]['msg'][:200]})"
    if (facts.get("space"), facts.get("dim")) != (teacher.space_id, str(teacher.dim)):
        stated = f"{str(facts.get('space'))[:40]}, {str(facts.get('dim'))[:10]} values"
        return f"it names the space {stated}, its teacher {teacher.space_id}, {teacher.dim} values"
    for key in ("sequence", *sorted(_COUNTS & facts.keys())):
        if not is_count(facts.get(key, "")):
            return f"its {key} is {facts.get(key, '')[:20]!r}, not a number below 2^53"
    try:
        datetime.fromisoformat(facts.get("created_at", "2026-01-01"))
    except ValueError:
        return f"its created_at is {facts['created_at'][:40]!r}, not a date"
    unknown = sorted(facts.keys() - _KNOWN)
    return f"it has a fact {unknown[0][:40]!r}, which Askew does not know" if unknown else None


def is_count(text: str) -> bool:
    """Whether a fact is a whole number that every reader of JSON can hold: plain digits, below 2^53."""
    return _COUNT.fullmatch(text) is not None and int(text) < 1 << 53


def read_origin(folder: Path) -> str | None:
    """The gallery that the one in a folder was filled from; None if it was not filled like that. Raises OSError."""
    try:
        return str(json.loads((folder / ORIGIN).read_bytes())["gallery"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_origin(folder: Path, gallery: str | None) -> None:
    """Record it; None: it was not filled like that. Raises OSError."""
    if gallery is None:
        (folder / ORIGIN).unlink(missing_ok=True)
    elif read_origin(folder) != gallery:
        write_atomically(folder / ORIGIN, json.dumps({"gallery": gallery}).encode())
