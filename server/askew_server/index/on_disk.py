"""A main segment on disk: its files, and the record that makes them the index of the gallery.

The index is derived from the gallery's database, so a missing or damaged one is not an error: it is reported and rebuilt.
The files:

    index/main.json                       the record: the sequence number covered, the calibration, a digest of every block
    index/main-GENERATION/scan.faiss      4-bit product codes
    index/main-GENERATION/refine.faiss    scalar codes, in the same order
    index/main-GENERATION/labels.i64      the labels of the rows, ascending, little-endian
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_server.files import is_exhaustion
from askew_server.index.faiss_library import read_mapped_scalar_codes, read_mapped_scan, require_faiss
from askew_server.index.main_segment import MainFacts, MainSegment
from askew_server.index.record import RECORD, Record, SavedFile
from askew_server.index.two_stage import Codebooks, CodedTail, TwoStageEngine
from askew_server.index.types import Labels

BLOCK_BYTES = 4 << 20
"""The size of a block in bytes; each block of a file has its own digest. The record does not store the size."""

SCAN, REFINE, LABELS = "scan.faiss", "refine.faiss", "labels.i64"

_DIGEST_DIGITS = 16
_READ_WHOLE = {SCAN, LABELS}


class OpenResult(NamedTuple):
    """A main segment or None. `damage`: a sentence that says why it cannot be used; None if none was ever built."""

    main: MainSegment | None
    damage: str | None


class VerifyStep(NamedTuple):
    """The progress of a verification, in blocks; `damage` names the file and block whose digest does not match."""

    done: int
    total: int
    damage: str | None


def open_main(folder: Path, dim: int, block_bytes: int = BLOCK_BYTES, *, is_verified: bool = False) -> OpenResult:
    """Open the main segment saved in `folder`, memory-mapped, in milliseconds.

    Checks the record's digest, every file's size, all blocks of the files that are read into memory, the first block of
    the others, and that FAISS reads the size and dimension that the record states. `verify_blocks` checks the other
    blocks. `is_verified`: no block is checked, as all of them were and nothing has changed since. Damage is returned,
    never raised. Raises EngineMissing; OSError or RuntimeError for want of descriptors.
    """
    require_faiss()
    try:
        record = Record.read(folder)
        if record is None:
            return OpenResult(None, None)
        return OpenResult(_open(folder / record.folder, record, dim, 0 if is_verified else block_bytes), None)
    # FAISS raises RuntimeError for a file that it cannot read.
    except (OSError, ValueError, RuntimeError) as error:
        if is_exhaustion(error):
            raise
        return OpenResult(None, _unusable(error))


def verify_blocks(folder: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[VerifyStep]:
    """Compare every block of the saved files with its digest, one block for each step; ends at the first damage.

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
            for number, matches in enumerate(_matching_blocks(path, file, block_bytes)):
                done += 1
                yield VerifyStep(done, total, None if matches else _damaged_block(path, number, block_bytes))
                if not matches:
                    return
    except (OSError, ValueError) as error:
        if is_exhaustion(error):
            raise
        yield VerifyStep(0, 0, _unusable(error))


def map_codebooks(folder: Path, order: NDArray[np.int64], scan: str = SCAN) -> Codebooks:
    """The FAISS indexes in a segment's folder, memory-mapped as far as FAISS supports it. Raises RuntimeError."""
    return Codebooks(read_mapped_scan(folder / scan), read_mapped_scalar_codes(folder / REFINE), order)


def remove_old(folder: Path) -> None:
    """Remove everything that the record does not name: older generations, and the remains of interrupted builds.

    A generation that is still mapped stays readable until it is unmapped. Must not be called while a build runs.
    """
    try:
        record = Record.read(folder)
    except ValueError:
        record = None
    kept = {RECORD, record.folder} if record else {RECORD}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def describe_file(path: Path, block_bytes: int = BLOCK_BYTES) -> SavedFile:
    """Flush a file to the disk, and return its size and block digests."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        blocks = [_digest(block) for block in iter(lambda: stream.read(block_bytes), b"")]
    return SavedFile(bytes=path.stat().st_size, blocks=blocks)


def _open(folder: Path, record: Record, dim: int, block_bytes: int) -> MainSegment:
    if record.dim != dim:
        raise ValueError(f"{folder} holds vectors of {record.dim} components, expected {dim}.")
    for name in (SCAN, REFINE, LABELS):
        _check_file(folder / name, record.files.get(name), block_bytes, whole=name in _READ_WHOLE)
    if sorted(record.order) != list(range(dim)):
        raise ValueError(f"The record of {folder} does not list each of the {dim} components exactly once.")
    codebooks = map_codebooks(folder, np.array(record.order))
    for part in (codebooks.scan, codebooks.codes):
        if part.ntotal != record.count or part.d != dim:
            raise ValueError(f"{folder} holds {part.ntotal} vectors of {part.d}, expected {record.count} of {dim}.")
    labels = _map_labels(folder / LABELS, record.count)

    def make_tail() -> CodedTail:
        calibration = record.calibration.model_copy(update={"slices": 1})
        return CodedTail(TwoStageEngine(codebooks.empty(), calibration))

    engine = TwoStageEngine(codebooks, record.calibration)
    main = MainSegment(engine, labels, _facts(record), make_tail, engine.page_in)
    main.state = "unverified"
    return main


def _check_file(path: Path, file: SavedFile | None, block_bytes: int, *, whole: bool) -> None:
    """Compare a file's size and its first block (`whole`: all blocks) with the record. Raises ValueError.

    `block_bytes`: 0 to compare no block.
    """
    if file is None:
        raise ValueError(f"The record of {path.parent} has no digest for {path.name}.")
    size = path.stat().st_size
    if size != file.bytes:
        raise ValueError(f"{path} has {size} bytes, expected {file.bytes}.")
    if not block_bytes:
        return
    for number, matches in enumerate(_matching_blocks(path, file, block_bytes)):
        if not matches:
            raise ValueError(_damaged_block(path, number, block_bytes))
        if not whole:
            break


def _map_labels(path: Path, count: int) -> Labels:
    labels = np.asarray(np.memmap(path, dtype="<i8", mode="r")).view(np.int64)
    if len(labels) != count or not np.all(labels[1:] > labels[:-1]):
        raise ValueError(f"{path} does not hold {count} labels in ascending order.")
    return labels


def _facts(record: Record) -> MainFacts:
    scan_bytes = record.files[SCAN].bytes
    return MainFacts(
        kind=record.kind,
        exact=False,
        sequence=record.sequence,
        generation=record.generation,
        # FAISS copies the scan's codes into memory; the other files stay mapped. The mask takes one byte per row.
        bytes_memory=scan_bytes + record.count,
        bytes_mapped=sum(file.bytes for file in record.files.values()) - scan_bytes,
        k_factor=record.calibration.k_factor,
        recall_at_10=record.calibration.recall_at_10,
        exact_margins=(record.calibration.exact_margin, record.calibration.exact_margin_at_100),
    )


def _matching_blocks(path: Path, file: SavedFile, block_bytes: int) -> Iterator[bool]:
    """For each block of a file, whether its bytes have the digest that the record states."""
    with path.open("rb") as stream:
        for expected in file.blocks:
            yield _digest(stream.read(block_bytes)) == expected
        if stream.read(1):
            raise ValueError(f"{path} is longer than expected.")


def _digest(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()[:_DIGEST_DIGITS]


def _damaged_block(path: Path, number: int, block_bytes: int) -> str:
    start = number * block_bytes
    return f"{path} is damaged between bytes {start} and {start + block_bytes}: its digest does not match."


def _unusable(error: Exception) -> str:
    return f"The saved index cannot be used: {str(error).splitlines()[0]}"
