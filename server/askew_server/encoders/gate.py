"""The gate: a student is admitted to a gallery only if its vectors agree with the teacher's.

The space that a file names is only a claim. The gate lets the candidate describe photos from the gallery's probe set or
items, and compares its vectors with the teacher's. A random network with a copied space id, or a student with permuted
dimensions, names the right space and has the right dimension; only this comparison exposes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.encoder_file import EncoderFile, parse_encoder_file
from askew_client.contract.encoders import HIGHEST_OPSETS, AdmissionReport, EncoderDescription, ScoreDistribution
from askew_client.contract.problems import ProblemKind
from askew_client.errors import DamagedEncoder, EncoderError, UnknownManifest
from askew_server.encoders.alignment import Alignment, GateProbe, Hits, measure_alignment
from askew_server.encoders.describer import ProbeResult, probe
from askew_server.errors import Refusal
from askew_server.gallery.live import LiveGallery
from askew_server.gallery.ranking import ranked
from askew_server.index.port import VectorIndex
from askew_server.index.types import Vectors
from askew_server.processes import ChildLost, LimitExceeded, Limits, run_in_child
from askew_server.storage.port import ItemReader
from askew_server.storage.probes import FEWEST_PROBES, StoredProbe
from askew_server.storage.vectors import unpack_vector

MAX_PROBES = 200
MEAN_COSINE_FLOOR = 0.25
SELF_RECALL_FLOOR = 0.5
RECALL_AT_10_FLOOR = 0.2
MIN_ITEMS_FOR_RECALL = 100
"""Recall@10 is not judged with fewer items: if there are hardly more than ten, any network finds ten of them."""

CANDIDATE_LIMITS = Limits(seconds=840, processor_seconds=600, memory_bytes=3_000_000_000)
"""What a candidate may use to describe its golden pictures and probes: 3 s of processor time for each of 200 photos."""

Each = TypeVar("Each")


def read_candidate(content: bytes, source: str) -> EncoderFile:
    """Read an encoder file from a request. Raises Refusal (not-an-encoder)."""
    try:
        return parse_encoder_file(content, source)
    except EncoderError as error:
        reason = {DamagedEncoder: "damaged", UnknownManifest: "newer-manifest"}.get(type(error), "no-encoder")
        raise Refusal(ProblemKind.NOT_AN_ENCODER, str(error), {"reason": reason}) from None


def never() -> bool:
    """Nobody stops waiting for an answer."""
    return False


def admit(
    gallery: LiveGallery,
    content: bytes,
    source: str,
    *,
    max_pixels: int,
    limits: Limits = CANDIDATE_LIMITS,
    cancelled: Callable[[], bool] = never,
) -> EncoderDescription:
    """Examine a candidate and keep it if it passes. Takes seconds; a child process runs the candidate.

    `limits`: of that process. Raises ChildStopped soon after `cancelled()` is true; Refusal: not-an-encoder, space-mismatch, encoder-conflict, overloaded while another candidate is being
    examined, or encoder-refused with the report.
    """
    file = read_candidate(content, source)
    _check_identity(gallery, file)
    # Awake meanwhile: what holds the gate is closed with the gallery's files.
    with gallery.awake() as index, gallery.encoders.one_candidate():
        report = _examine(
            gallery,
            index,
            file,
            partial(run_candidate, content, max_pixels=max_pixels, limits=limits, cancelled=cancelled),
        )
    if not report.admitted:
        raise Refusal(
            ProblemKind.ENCODER_REFUSED,
            f"{file.manifest.encoder_id} is not admitted to gallery {gallery.name!r}: {' '.join(report.reasons)}",
            {"report": report.model_dump(mode="json")},
        )
    gallery.encoders.write_file(file, content)
    return gallery.run(lambda each: each.encoders.keep(file, report))


def check_teacher(
    content: bytes,
    source: str,
    *,
    max_pixels: int,
    limits: Limits = CANDIDATE_LIMITS,
    cancelled: Callable[[], bool] = never,
) -> EncoderFile:
    """Check in a child process that a teacher's file computes its golden vectors, before a gallery depends on it.

    Returns what the file states. Raises Refusal (not-an-encoder) if it cannot be run or computes other vectors, and
    ChildStopped soon after `cancelled()` is true.
    """
    file = read_candidate(content, source)
    try:
        run_candidate(content, [], max_pixels=max_pixels, limits=limits, cancelled=cancelled)
    except EncoderError as error:
        raise Refusal(ProblemKind.NOT_AN_ENCODER, str(error), {"reason": "golden-vectors"}) from None
    return file


def _check_identity(gallery: LiveGallery, file: EncoderFile) -> None:
    """Refuse a candidate of another space, or one whose name and version belong to another file."""
    manifest = file.manifest
    if (manifest.space_id, manifest.dim) != (gallery.space, gallery.dim):
        raise Refusal(
            ProblemKind.SPACE_MISMATCH,
            f"Gallery {gallery.name!r} is in space {gallery.space} ({gallery.dim} values), but {manifest.encoder_id} "
            f"makes vectors in {manifest.space_id} ({manifest.dim} values). Admit students of "
            f"{gallery.teacher.encoder_id}.",
            {"expected": gallery.space, "received": manifest.space_id},
        )
    gallery.run(lambda each: each.encoders.check_identity(file))


def _examine(
    gallery: LiveGallery, index: VectorIndex, file: EncoderFile, run: Callable[[list[Path]], ProbeResult]
) -> AdmissionReport:
    report = AdmissionReport(
        gallery=gallery.name,
        encoder=file.manifest.encoder_id,
        sha256=file.sha256,
        admitted=False,
        reasons=[],
        space=file.manifest.space_id,
        size=file.size,
        opset=file.opset,
        floors={
            "mean_cosine": MEAN_COSINE_FLOOR,
            "self_recall_at_1": SELF_RECALL_FLOOR,
            "recall_at_10": RECALL_AT_10_FLOOR,
        },
    )
    highest = max(HIGHEST_OPSETS.values())
    if file.opset > highest:
        reason = (
            f"It uses ONNX opset {file.opset}, but no supported runtime supports more than {highest}. Export it with "
            "`askew export`."
        )
        return report.model_copy(update={"reasons": [reason]})
    with closing(gallery.run(lambda each: each.store.open_reader())) as reader:
        probes = _choose_probes(gallery.run(lambda each: each.probes.all()), reader)
        if len(probes) < FEWEST_PROBES:
            reason = (
                f"The gate needs at least {FEWEST_PROBES} photos to compare it with the teacher, from the gallery's probe "
                f"set or its items with photos, of which there are {len(probes)}. Index photos, or add probes with "
                "`askew probes add`."
            )
            return report.model_copy(update={"reasons": [reason]})
        try:
            probed = run([each.photo for each in probes])
        except EncoderError as error:
            return report.model_copy(update={"reasons": [str(error)]})
        alignment = measure_alignment(probes, probed.vectors, _GalleryHits(index, reader), reader.counts()[0])
    measured = {
        "probes": len(probes),
        "probes_from": "probes" if probes[0].item is None else "items",
        "golden": probed.golden,
        "milliseconds_per_photo": probed.milliseconds_per_photo,
    }
    return judge(report.model_copy(update=measured), alignment)


def judge(report: AdmissionReport, alignment: Alignment) -> AdmissionReport:
    """Compare an alignment with the floors, and add the figures and the verdict to the report."""
    mean_cosine = float(alignment.own.mean())
    recall = alignment.recall.get(10)
    reasons = []
    if not mean_cosine >= MEAN_COSINE_FLOOR:
        reasons.append(
            f"Its vectors agree with the teacher's at a mean cosine of {mean_cosine:.3f}; {MEAN_COSINE_FLOOR} is needed."
        )
    if not alignment.self_recall_at_1 >= SELF_RECALL_FLOOR:
        reasons.append(
            f"{alignment.self_recall_at_1:.0%} of {len(alignment.own)} photos find themselves first; "
            f"{SELF_RECALL_FLOOR:.0%} is needed."
        )
    if recall is not None and alignment.compared_items >= MIN_ITEMS_FOR_RECALL and not recall >= RECALL_AT_10_FLOOR:
        reasons.append(
            f"It finds {recall:.0%} of the ten items that the teacher finds first; {RECALL_AT_10_FLOOR:.0%} is needed."
        )
    if reasons:
        reasons.append("Was it distilled from this gallery's teacher?")
    return report.model_copy(
        update={
            "admitted": not reasons,
            "reasons": reasons,
            "mean_cosine": mean_cosine,
            "mean_cosine_others": float(alignment.others.mean()),
            "self_recall_at_1": alignment.self_recall_at_1,
            "recall_at_1": alignment.recall.get(1),
            "recall_at_10": recall,
            "compared_items": alignment.compared_items,
            "exact": alignment.exact,
            "matches": _distribution(alignment.own),
            "false_matches": _distribution(alignment.best_other) if len(alignment.best_other) else None,
        }
    )


class _GalleryHits:
    """Searches a gallery's index, taking turns with other searches; scores are computed from the stored vectors."""

    def __init__(self, index: VectorIndex, reader: ItemReader) -> None:
        self._index = index
        self._reader = reader

    def __call__(self, queries: Vectors, limit: int) -> Hits:
        """The items nearest to a few queries."""
        found = self._index.search_blocking(queries, limit)
        rows = [
            ranked(self._reader.candidates(row[row >= 0].tolist()), query)
            for query, row in zip(queries, found.labels, strict=True)
        ]
        return Hits([[(item.id, item.score) for item in row] for row in rows], found.exact)


def _choose_probes(kept: list[StoredProbe], reader: ItemReader) -> list[GateProbe]:
    """Up to 200 photos, spread evenly over the probe set, or over the gallery's items if the probe set is too small."""
    if len(kept) >= FEWEST_PROBES:
        return [GateProbe(probe.photo, probe.vector, None) for probe in _spread(kept)]
    photos = dict(_spread(reader.items_with_photo()))
    return [
        GateProbe(reader.photo_path(photos[label]), unpack_vector(vector), item)
        for label, item, _, vector in sorted(reader.candidates(list(photos)))
    ]


def _spread(candidates: Sequence[Each]) -> list[Each]:
    step = max(1.0, len(candidates) / MAX_PROBES)
    return [candidates[int(i * step)] for i in range(min(MAX_PROBES, len(candidates)))]


def run_candidate(
    content: bytes,
    photos: list[Path],
    *,
    max_pixels: int,
    limits: Limits = CANDIDATE_LIMITS,
    cancelled: Callable[[], bool] = never,
) -> ProbeResult:
    """Run a candidate on photos in its own process, so that a hostile or broken file cannot harm the server.

    Raises EncoderError if it cannot be loaded, computes golden vectors that differ from those in its file, crashes, or
    uses more than the limits; ChildStopped soon after `cancelled()` is true.
    """
    asked = f"its golden pictures and {len(photos)} photos" if photos else "its golden pictures"
    with tempfile.TemporaryDirectory(prefix="askew-admission-") as folder:
        path = Path(folder) / "candidate.onnx"
        path.write_bytes(content)
        try:
            return run_in_child(probe, lambda _: None, cancelled, limits, path, max_pixels, limits.memory_bytes, photos)
        except LimitExceeded as error:
            raise DamagedEncoder(
                f"Expected the encoder to describe {asked} within the limits, but {error.what}, so it was stopped. Try it "
                "with `askew check` on your machine; the server's settings check_seconds, check_processor_seconds and "
                "photo_memory_bytes allow more."
            ) from None
        except ChildLost as error:
            raise DamagedEncoder(
                f"Expected the encoder to describe {asked}, but the process that ran it ended early ({error}). Try it with "
                "`askew check` on your machine."
            ) from None
        except EncoderError as error:
            raise type(error)(str(error).replace(str(path), "The file")) from None


def _distribution(scores: NDArray[np.float64]) -> ScoreDistribution:
    percentiles = np.percentile(scores, np.arange(101))
    return ScoreDistribution(count=len(scores), percentiles=[round(float(p), 6) for p in percentiles])
