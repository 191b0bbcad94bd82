"""A main segment on disk: its files, and the record that makes them the index of the gallery.

The index is derived from the gallery's database. One that is missing, torn or damaged is never an error: it is
reported, and built anew. What is where:

    index/main.json                       the record: what is covered, how it is searched, a digest for every block
    index/main-GENERATION/scan.faiss      4-bit product codes
    index/main-GENERATION/refine.faiss    scalar codes, in the same order
    index/main-GENERATION/labels.i64      the labels of the rows, rising, little-endian
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_server.index.faiss_library import import_faiss
from askew_server.index.main_segment import MainFacts, MainSegment
from askew_server.index.record import RECORD, Record, SavedFile
from askew_server.index.two_stage import Codebooks, CodedTail, TwoStageEngine, empty_like

BLOCK_BYTES = 4 << 20
"""Of so many bytes each, the blocks of a file have digests of their own."""

SCAN, REFINE, LABELS = "scan.faiss", "refine.faiss", "labels.i64"

_DIGEST_DIGITS = 16
_READ_WHOLE = {SCAN, LABELS}


class OpenResult(NamedTuple):
    """A main segment, or None and why there is none: `damage` is a sentence, None where none was ever built."""

    main: MainSegment | None
    damage: str | None


class VerifyStep(NamedTuple):
    """How far a verification has come, in blocks; `damage` names the file and block that do not fit."""

    done: int
    total: int
    damage: str | None


def open_main(folder: Path, dim: int) -> OpenResult:
    """Open the main segment saved in `folder`, in milliseconds: memory-mapped, its structure checked.

    Checked are the record's digest, every file's size, the blocks that are read into memory anyway, the first block
    of the others, and that FAISS finds in them what the record says. The other blocks: `verify_blocks`. Damage is
    returned, never raised. Raises EngineMissing.
    """
    faiss = import_faiss()
    try:
        record = Record.read(folder)
        if record is None:
            return OpenResult(None, None)
        return OpenResult(_open(faiss, folder / record.folder, record, dim), None)
    # FAISS answers a file that it cannot read with a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        return OpenResult(None, f"The saved index cannot be used: {str(error).splitlines()[0]}")


def verify_blocks(folder: Path) -> Iterator[VerifyStep]:
    """Compare every block of the saved files with its digest, a block for each step; ends at the first damage.

    The files are read, not mapped, so another thread may do this while the index is searched.
    """
    try:
        record = Record.read(folder)
        if record is None:
            return
        total = sum(len(file.blocks) for file in record.files.values())
        done = 0
        for name, file in sorted(record.files.items()):
            path = folder / record.folder / name
            for number, fits in enumerate(_fitting_blocks(path, file)):
                done += 1
                yield VerifyStep(done, total, None if fits else _damaged_block(path, number))
                if not fits:
                    return
    except (OSError, ValueError) as error:
        yield VerifyStep(0, 0, f"The saved index cannot be used: {str(error).splitlines()[0]}")


def map_codebooks(faiss: Any, folder: Path, order: NDArray[np.int64], scan: str = SCAN) -> Codebooks:
    """The FAISS indexes in a segment's folder, memory-mapped as far as FAISS can."""
    scanned, refined = (faiss.read_index(str(folder / name), faiss.IO_FLAG_MMAP_IFC) for name in (scan, REFINE))
    return Codebooks(scanned, refined, order)


def remove_old(folder: Path) -> None:
    """Remove what the record does not name: older generations, and what an interrupted build has left.

    A generation that is still mapped stays readable until it is let go. Not while a build runs.
    """
    try:
        record = Record.read(folder)
    except ValueError:
        record = None
    kept = {RECORD, record.folder} if record else {RECORD}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def described(path: Path) -> SavedFile:
    """Size and block digests of a file, which is flushed to the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        blocks = [_digest(block) for block in iter(lambda: stream.read(BLOCK_BYTES), b"")]
    return SavedFile(bytes=path.stat().st_size, blocks=blocks)


def _open(faiss: Any, folder: Path, record: Record, dim: int) -> MainSegment:
    if record.dim != dim:
        raise ValueError(f"{folder} holds vectors of {record.dim} components, expected {dim}.")
    for name in (SCAN, REFINE, LABELS):
        file = record.files.get(name)
        if file is None:
            raise ValueError(f"{folder} has no digest for {name}.")
        size = (folder / name).stat().st_size
        if size != file.bytes:
            raise ValueError(f"{folder / name} has {size} bytes, expected {file.bytes}.")
        for number, fits in enumerate(_fitting_blocks(folder / name, file)):
            if not fits:
                raise ValueError(_damaged_block(folder / name, number))
            if name not in _READ_WHOLE:
                break
    if sorted(record.order) != list(range(dim)):
        raise ValueError(f"{folder} does not say in which order its codes take the {dim} components.")
    codebooks = map_codebooks(faiss, folder, np.array(record.order))
    for part in (codebooks.scan, codebooks.refine):
        if part.ntotal != record.count or part.d != dim or part.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise ValueError(f"{folder} holds {part.ntotal} vectors of {part.d}, expected {record.count} of {dim}.")
    labels = np.asarray(np.memmap(folder / LABELS, dtype="<i8", mode="r")).view(np.int64)
    if len(labels) != record.count or not np.all(labels[1:] > labels[:-1]):
        raise ValueError(f"{folder / LABELS} does not hold {record.count} rising labels.")
    scan_bytes = record.files[SCAN].bytes
    facts = MainFacts(
        kind=record.kind,
        exact=False,
        sequence=record.sequence,
        generation=record.generation,
        # FAISS reads the scan's codes into memory of its own; the other files stay mapped. A byte a row says what lives.
        bytes_memory=scan_bytes + record.count,
        bytes_mapped=sum(file.bytes for file in record.files.values()) - scan_bytes,
        k_factor=record.calibration.k_factor,
        recall_at_10=record.calibration.recall_at_10,
        exact_margins=(record.calibration.exact_margin, record.calibration.exact_margin_at_100),
    )

    def make_tail() -> CodedTail:
        calibration = record.calibration.model_copy(update={"slices": 1})
        return CodedTail(TwoStageEngine(faiss, empty_like(faiss, codebooks), calibration))

    engine = TwoStageEngine(faiss, codebooks, record.calibration)
    main = MainSegment(engine, labels, facts, make_tail, engine.page_in)
    main.state = "unverified"
    return main


def _fitting_blocks(path: Path, file: SavedFile) -> Iterator[bool]:
    """For each block of a file, whether its bytes have their digest."""
    with path.open("rb") as stream:
        for expected in file.blocks:
            yield _digest(stream.read(BLOCK_BYTES)) == expected
        if stream.read(1):
            raise ValueError(f"{path} is longer than expected.")


def _digest(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()[:_DIGEST_DIGITS]


def _damaged_block(path: Path, number: int) -> str:
    start = number * BLOCK_BYTES
    return f"{path} is damaged between bytes {start} and {start + BLOCK_BYTES}: its digest does not fit."
