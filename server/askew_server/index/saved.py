"""An index on disk: the file, and beside it the sequence number that it covers and its digest.

The index is derived from the gallery's database. A saved one that is missing, torn or damaged is never an error:
the gallery builds it anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ValidationError

from askew_client.files import flush_folder, write_atomically
from askew_server.index.faiss_exact import FaissExactIndex
from askew_server.index.port import VectorIndex

_RECORD = "index.json"


class _Record(BaseModel):
    """What `index.json` says of the index file beside it."""

    file: str
    sequence: int
    count: int
    sha256: str


def save_index(folder: Path, index: VectorIndex, sequence: int) -> None:
    """Save an index that covers all changes up to `sequence`; the older file goes when the new one is in place."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{index.name}-{sequence}.faiss"
    beside = path.with_suffix(".part")
    index.save(beside)
    with beside.open("rb") as stream:
        os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    beside.replace(path)
    flush_folder(folder)
    record = _Record(file=path.name, sequence=sequence, count=len(index), sha256=digest)
    write_atomically(folder / _RECORD, record.model_dump_json(indent=1).encode())
    for old in folder.iterdir():
        if old.name not in {path.name, _RECORD}:
            old.unlink()


def load_index(folder: Path, dim: int) -> tuple[FaissExactIndex, int] | None:
    """The saved index and the sequence number that it covers; None when there is no whole one."""
    try:
        record = _Record.model_validate_json((folder / _RECORD).read_bytes())
        path = folder / record.file
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != record.sha256:
                return None
        index = FaissExactIndex.read(path, dim)
    except (OSError, ValidationError, ValueError):
        return None
    return (index, record.sequence) if len(index) == record.count else None
