"""Build a main segment from a gallery's database: sample, train, encode, calibrate, save.

Vectors are read in batches, each in a transaction of its own, so the gallery goes on being written. What is removed
meanwhile is left out by the index that takes the segment (segmented.py); what is added later is not the segment's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from askew_client.errors import AskewError
from askew_client.files import flush_folder
from askew_server.clock import utc_seconds
from askew_server.index.calibration import QUERIES, TARGET_RECALL, Queries, Truth, calibrate, held_out
from askew_server.index.faiss_library import import_faiss
from askew_server.index.on_disk import LABELS, REFINE, SCAN, described, map_codebooks
from askew_server.index.planning import LEAST_CODED, estimate, lists_for, refuse_too_large, scans_for, training_size
from askew_server.index.port import VectorSource
from askew_server.index.record import FORMAT, Calibration, Record, Refinement
from askew_server.index.threads import limit_threads, search_threads
from askew_server.index.two_stage import balanced_order, untrained_refine, untrained_scan
from askew_server.index.types import MARGIN, CodedKind, Labels, Rows, Vectors

_BATCH = 4_096
_SPREAD = 256
_TRAINING_ROUNDS = 8
_SEED = 20_21


class Progress(NamedTuple):
    """How far a build has come: the stage's name, and its steps."""

    stage: str
    done: int
    total: int


Report = Callable[[Progress], None]


def build_main(source: VectorSource, folder: Path, kind: CodedKind, report: Report) -> Record:
    """Build a main segment and make it the one saved in `folder`. The older one stays until `remove_old`.

    Raises AskewError for too few vectors or a dimension that cannot be coded, Refusal (would-not-fit), EngineMissing.
    """
    faiss = import_faiss()
    limit_threads(faiss, search_threads())
    began = time.monotonic()
    report(Progress("sampling", 0, 1))
    sequence, labels = source.covered()
    if len(labels) < LEAST_CODED:
        raise AskewError(f"Expected at least {LEAST_CODED} vectors to build a {kind} index of, got {len(labels)}.")
    refuse_too_large(estimate(kind, len(labels), source.dim), folder)
    generation = _next_generation(folder)
    final, work = folder / f"main-{generation}", folder / f"main-{generation}.part"
    work.mkdir(parents=True)
    try:
        built = _build_codes(faiss, source, kind, labels, work, report)
        record = Record(
            format=FORMAT,
            kind=kind,
            generation=generation,
            folder=final.name,
            dim=source.dim,
            count=built.size,
            sequence=sequence,
            order=built.order.tolist(),
            refine=built.refine,
            calibration=built.calibration,
            built_at=utc_seconds(),
            build_seconds=round(time.monotonic() - began, 1),
            faiss=faiss.__version__,
            files={name: described(work / name) for name in (SCAN, REFINE, LABELS)},
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
    refine: Refinement
    calibration: Calibration


def _build_codes(
    faiss: Any, source: VectorSource, kind: CodedKind, labels: Labels, work: Path, report: Report
) -> _Built:
    """Write scan, scalar codes and labels to `work`: the quickest scan, and float16 where 8 bits miss the recall."""
    random = np.random.default_rng(_SEED)
    queries, sample = _sample(source, labels, random)
    order = balanced_order(sample)
    sample = sample[:, order]
    lists = lists_for(len(labels)) if kind == "ivf-two-stage" else None
    report(Progress("training", 0, 1))
    scans = [untrained_scan(faiss, source.dim, parts, lists) for parts in scans_for(kind, len(labels), source.dim)]
    for scan in scans:
        _train_scan(scan, sample, lists)
    refine: Refinement
    for refine in ("SQ8", "SQfp16"):
        codes = untrained_refine(faiss, source.dim, refine)
        codes.train(sample)
        coded = _encode(faiss, source, labels, scans, codes, order, queries, work, report)
        quickest, calibration = _quickest(faiss, scans, coded, queries, order, work, report)
        if min(calibration.recall_plain, calibration.recall_moved) >= TARGET_RECALL:
            break
        for scan in scans:
            scan.reset()
    (work / f"{SCAN}.{quickest}").replace(work / SCAN)
    for other in work.glob(f"{SCAN}.*"):
        other.unlink()
    return _Built(coded.size, order, refine, calibration)


def _quickest(
    faiss: Any,
    scans: list[Any],
    coded: _Coded,
    queries: Queries,
    order: NDArray[np.int64],
    work: Path,
    report: Report,
) -> tuple[int, Calibration]:
    """The number of the scan that answers quickest, calibrated, and its calibration."""
    calibrations = []
    for number in range(len(scans)):
        codebooks = map_codebooks(faiss, work, order, f"{SCAN}.{number}")

        def report_step(done: int, total: int, number: int = number) -> None:
            report(Progress("calibrating", number * total + done, len(scans) * total))

        calibration = calibrate(faiss, codebooks, queries, coded.nearest, report_step)
        calibrations.append((calibration.seconds(coded.size, 10 + MARGIN), number, calibration))
    _, number, calibration = min(calibrations, key=lambda each: each[:2])
    return number, calibration


def _sample(source: VectorSource, labels: Labels, random: np.random.Generator) -> tuple[Queries, Vectors]:
    """Queries for the calibration, and other vectors to train on: float32 [n, D] in random order."""
    size = min(len(labels), training_size(source.dim) + QUERIES)
    chosen = np.sort(random.choice(labels, size, replace=False))
    found, vectors = (np.concatenate(parts) for parts in zip(*source.batches(chosen), strict=True))
    order = random.permutation(len(found))
    asked = min(QUERIES, len(found) // 4)
    own, training = order[:asked], vectors[order[asked:]]
    return held_out(found[own], vectors[own], training[:_SPREAD], random), training


def _train_scan(scan: Any, sample: Vectors, lists: int | None) -> None:
    if lists is not None:
        # FAISS's own 10 and more rounds on so many components take minutes; recall is calibrated afterwards anyway.
        scan.cp.niter = _TRAINING_ROUNDS
        scan.cp.min_points_per_centroid = 1
    scan.train(sample)


class _Coded(NamedTuple):
    size: int
    nearest: Rows


def _encode(
    faiss: Any,
    source: VectorSource,
    labels: Labels,
    scans: list[Any],
    refine: Any,
    order: NDArray[np.int64],
    queries: Queries,
    work: Path,
    report: Report,
) -> _Coded:
    """Code every vector into files, and find the true nearest of the queries on the way."""
    truth = Truth(queries)
    count = 0
    header = bytearray(faiss.serialize_index(refine).tobytes())
    with (work / REFINE).open("wb") as refine_file, (work / LABELS).open("wb") as label_file:
        refine_file.write(header)
        for found, vectors in source.batches(labels):
            ordered = vectors[:, order]
            for scan in scans:
                scan.add(ordered)
            refine_file.write(refine.sa_encode(ordered).tobytes())
            label_file.write(found.astype("<i8").tobytes())
            truth.see(count, found, vectors)
            count += len(found)
            report(Progress("encoding", count, len(labels)))
        # The scalar codes never lie in memory as a whole: an empty FAISS index is written, then its codes, then how
        # many these are. In an IndexScalarQuantizer's file the vectors' number is at byte 8, the codes' before them.
        header[8:16] = count.to_bytes(8, "little")
        header[-8:] = (count * refine.code_size).to_bytes(8, "little")
        refine_file.seek(0)
        refine_file.write(header)
    for number, scan in enumerate(scans):
        faiss.write_index(scan, str(work / f"{SCAN}.{number}"))
    return _Coded(count, truth.nearest())


def _next_generation(folder: Path) -> int:
    """One more than that of any segment in the folder, damaged ones included."""
    numbers = [path.name.removeprefix("main-").removesuffix(".part") for path in folder.glob("main-*")]
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)
