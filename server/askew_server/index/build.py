"""Build a main segment from a gallery's database: sample, train, encode, calibrate, save.

Vectors are read in batches, each in its own transaction, so the gallery can be written during the build. The index
that takes the segment (segmented.py) skips vectors that were removed during the build; those added later stay in its
tail.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_client.errors import AskewError
from askew_client.files import flush_folder
from askew_server.clock import utc_seconds
from askew_server.index.calibration import QUERIES, TARGET_RECALL, Queries, Truth, calibrate, held_out
from askew_server.index.faiss_library import (
    ScalarCodes,
    Scan,
    faiss_version,
    new_scalar_codes,
    new_scan,
    write_scalar_codes,
    write_scan,
)
from askew_server.index.on_disk import BLOCK_BYTES, LABELS, REFINE, SCAN, describe_file, map_codebooks
from askew_server.index.planning import MIN_CODED, estimate, lists_for, refuse_too_large, scans_for, training_size
from askew_server.index.port import VectorSource
from askew_server.index.record import FORMAT, Calibration, Record
from askew_server.index.slices import ROWS_PER_SLICE
from askew_server.index.threads import limit_threads, search_threads
from askew_server.index.two_stage import balanced_order
from askew_server.index.types import MARGIN, CodedKind, Labels, Precision, Rows, Vectors

_SPREAD = 256
_SEED = 20_21


class Progress(NamedTuple):
    """The progress of a build: the stage's name, and its steps."""

    stage: str
    done: int
    total: int


ReportProgress = Callable[[Progress], None]


def build_main(
    source: VectorSource,
    folder: Path,
    kind: CodedKind,
    report: ReportProgress,
    *,
    rows_per_slice: int = ROWS_PER_SLICE,
    block_bytes: int = BLOCK_BYTES,
) -> Record:
    """Build a main segment and save it as the current one in `folder`. `remove_old` removes the files of the older one.

    Raises AskewError for too few vectors or a dimension that cannot be coded, Refusal (would-not-fit), EngineMissing.
    """
    limit_threads(search_threads())
    began = time.monotonic()
    report(Progress("sampling", 0, 1))
    sequence, labels = source.covered()
    if len(labels) < MIN_CODED:
        raise AskewError(f"Expected at least {MIN_CODED} vectors to build a {kind} index from, got {len(labels)}.")
    refuse_too_large(kind, estimate(kind, len(labels), source.dim), folder)
    generation = _next_generation(folder)
    final, work = folder / f"main-{generation}", folder / f"main-{generation}.part"
    work.mkdir(parents=True)
    try:
        built = _build_codes(source, kind, labels, work, report, rows_per_slice)
        record = Record(
            format=FORMAT,
            kind=kind,
            generation=generation,
            folder=final.name,
            dim=source.dim,
            count=built.size,
            sequence=sequence,
            order=built.order.tolist(),
            refine=built.precision,
            calibration=built.calibration,
            built_at=utc_seconds(),
            build_seconds=round(time.monotonic() - began, 1),
            faiss=faiss_version(),
            files={name: describe_file(work / name, block_bytes) for name in (SCAN, REFINE, LABELS)},
        )
        flush_folder(work)
        work.replace(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    flush_folder(folder)
    record.write(folder)
    return record


class _Built(NamedTuple):
    size: int
    order: NDArray[np.int64]
    precision: Precision
    calibration: Calibration


class _Sample(NamedTuple):
    """Vectors drawn at random: queries for the calibration, and others to train on, float32 [n, D]."""

    queries: Queries
    training: Vectors


def _build_codes(
    source: VectorSource, kind: CodedKind, labels: Labels, work: Path, report: ReportProgress, rows_per_slice: int
) -> _Built:
    """Write scan, scalar codes and labels to `work`. Keeps the fastest scan, and uses float16 if 8 bits miss the recall."""
    sample = _sample(source, labels)
    order = balanced_order(sample.training)
    training = sample.training[:, order]
    lists = lists_for(len(labels)) if kind == "ivf-two-stage" else None
    report(Progress("training", 0, 1))
    scans = [new_scan(source.dim, parts, lists) for parts in scans_for(kind, len(labels), source.dim)]
    for scan in scans:
        scan.train(training)
    precision: Precision
    for precision in ("SQ8", "SQfp16"):
        codes = new_scalar_codes(source.dim, precision)
        codes.train(training)
        encoded = _encode(source, labels, scans, codes, order, sample.queries, work, report)
        quickest, calibration = _quickest(len(scans), encoded, sample.queries, order, work, report, rows_per_slice)
        if min(calibration.recall_plain, calibration.recall_moved) >= TARGET_RECALL:
            break
        for scan in scans:
            scan.reset()
    (work / f"{SCAN}.{quickest}").replace(work / SCAN)
    for other in work.glob(f"{SCAN}.*"):
        other.unlink()
    return _Built(encoded.size, order, precision, calibration)


def _sample(source: VectorSource, labels: Labels) -> _Sample:
    random = np.random.default_rng(_SEED)
    size = min(len(labels), training_size(source.dim) + QUERIES)
    chosen = np.sort(random.choice(labels, size, replace=False))
    found, vectors = (np.concatenate(parts) for parts in zip(*source.batches(chosen), strict=True))
    order = random.permutation(len(found))
    held = order[: min(QUERIES, len(found) // 4)]
    training = vectors[order[len(held) :]]
    return _Sample(held_out(found[held], vectors[held], training[:_SPREAD], random), training)


class _Encoded(NamedTuple):
    """The number of vectors coded, and the queries' true nearest rows among them, int64 [n, 100]."""

    size: int
    nearest: Rows


def _encode(
    source: VectorSource,
    labels: Labels,
    scans: Sequence[Scan],
    codes: ScalarCodes,
    order: NDArray[np.int64],
    queries: Queries,
    work: Path,
    report: ReportProgress,
) -> _Encoded:
    """Write the codes of every vector to files. The same pass finds the true nearest rows of the queries."""
    truth = Truth(queries)
    count = 0
    with write_scalar_codes(codes, work / REFINE) as writer, (work / LABELS).open("wb") as label_file:
        for found, vectors in source.batches(labels):
            ordered = vectors[:, order]
            for scan in scans:
                scan.add(ordered)
            writer.append(ordered)
            label_file.write(found.astype("<i8").tobytes())
            truth.see(count, found, vectors)
            count += len(found)
            report(Progress("encoding", count, len(labels)))
    for number, scan in enumerate(scans):
        write_scan(scan, work / f"{SCAN}.{number}")
    return _Encoded(count, truth.nearest())


def _quickest(
    scans: int,
    encoded: _Encoded,
    queries: Queries,
    order: NDArray[np.int64],
    work: Path,
    report: ReportProgress,
    rows_per_slice: int,
) -> tuple[int, Calibration]:
    """Calibrate each written scan. Returns the number of the fastest one and its calibration."""
    calibrations = []
    for number in range(scans):
        codebooks = map_codebooks(work, order, f"{SCAN}.{number}")

        def report_step(done: int, total: int, number: int = number) -> None:
            report(Progress("calibrating", number * total + done, scans * total))

        calibration = calibrate(codebooks, queries, encoded.nearest, report_step, rows_per_slice)
        calibrations.append((calibration.seconds(encoded.size, 10 + MARGIN), number, calibration))
    _, number, calibration = min(calibrations, key=lambda each: each[:2])
    return number, calibration


def _next_generation(folder: Path) -> int:
    """One more than the highest generation of the segments in the folder, damaged ones included."""
    numbers = [path.name.removeprefix("main-").removesuffix(".part") for path in folder.glob("main-*")]
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)
