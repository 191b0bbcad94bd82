"""The gate: a student is admitted to a gallery only if it lands in the gallery's space.

The space that a file names is a declaration. The gate describes photos of the gallery with the candidate and
compares the vectors with the teacher's stored ones: a random network with a copied space id, or a student with
permuted dimensions, names the right space, has the right dimension, and does not land.
"""

from __future__ import annotations

import tempfile
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.encoder_file import HIGHEST_OPSET, EncoderFile, parse_encoder_file
from askew_client.contract.problems import ProblemKind
from askew_client.contract.schemas import AdmissionReport, EncoderDescription, ScoreDistribution
from askew_client.errors import DamagedEncoder, EncoderError, UnknownManifest
from askew_client.metrics import own_ranks, recall_at
from askew_server.describing import Describer, ProbeResult
from askew_server.errors import Refusal
from askew_server.gallery import Gallery
from askew_server.index.port import Labels, Vectors
from askew_server.owned import OwnedGallery

MOST_PROBES = 200
FEWEST_PROBES = 10
MEAN_COSINE_FLOOR = 0.25
SELF_RECALL_FLOOR = 0.5
PROCESSOR_SECONDS = 600
"""What a candidate may use to describe its probes: 3 s for each of 200 photos."""


def read_candidate(content: bytes, source: str) -> EncoderFile:
    """Read an encoder file that was sent. Raises Refusal (not-an-encoder)."""
    try:
        return parse_encoder_file(content, source)
    except EncoderError as error:
        reason = {DamagedEncoder: "damaged", UnknownManifest: "newer-manifest"}.get(type(error), "no-encoder")
        raise Refusal(ProblemKind.NOT_AN_ENCODER, str(error), {"reason": reason}) from None


def admit(gallery: OwnedGallery, content: bytes, source: str, *, max_pixels: int) -> EncoderDescription:
    """Examine a candidate and, if it lands, keep it. Runs for seconds; its engine runs in a child process.

    Raises Refusal: not-an-encoder, space-mismatch, encoder-conflict, or encoder-refused with the report.
    """
    file = read_candidate(content, source)
    _check_identity(gallery, file)
    report = _examine(gallery, file, content, max_pixels)
    if not report.admitted:
        raise Refusal(
            ProblemKind.ENCODER_REFUSED,
            f"{file.manifest.encoder_id} is not admitted to gallery {gallery.name!r}: {' '.join(report.reasons)}",
            {"report": report.model_dump(mode="json")},
        )
    return gallery.run(lambda owned: owned.keep_encoder(file, content, report))


def check_teacher(content: bytes, *, max_pixels: int) -> None:
    """Run a teacher's file in a child process on its golden pictures, before a gallery is trusted to it.

    Raises Refusal (not-an-encoder) when it cannot be run or does not compute its golden vectors.
    """
    try:
        _probe_in_child(content, [], max_pixels)
    except EncoderError as error:
        raise Refusal(ProblemKind.NOT_AN_ENCODER, str(error), {"reason": "golden-vectors"}) from None


def _check_identity(gallery: OwnedGallery, file: EncoderFile) -> None:
    """Refuse a candidate of another space, or one whose name and version belong to another file."""
    manifest = file.manifest
    if (manifest.space_id, manifest.dim) != (gallery.space, gallery.dim):
        raise Refusal(
            ProblemKind.SPACE_MISMATCH,
            f"Gallery {gallery.name!r} lies in space {gallery.space} ({gallery.dim} values); {manifest.encoder_id} makes "
            f"vectors in {manifest.space_id} ({manifest.dim} values). Admit students of {gallery.teacher.encoder_id}.",
            {"expected": gallery.space, "received": manifest.space_id},
        )
    gallery.run(lambda each: each.encoders.check_identity(file))


def _examine(gallery: OwnedGallery, file: EncoderFile, content: bytes, max_pixels: int) -> AdmissionReport:
    report = AdmissionReport(
        gallery=gallery.name,
        encoder=file.manifest.encoder_id,
        sha256=file.sha256,
        admitted=False,
        reasons=[],
        floors={"mean_cosine": MEAN_COSINE_FLOOR, "self_recall_at_1": SELF_RECALL_FLOOR},
    )
    if file.opset > HIGHEST_OPSET:
        reason = f"It uses ONNX opset {file.opset}; phones run up to {HIGHEST_OPSET}. Export it with `askew export`."
        return report.model_copy(update={"reasons": [reason]})
    labels, photos = gallery.run(_choose_probes)
    if len(photos) < FEWEST_PROBES:
        reason = (
            f"The gate needs at least {FEWEST_PROBES} items with photos to see whether it lands, and the gallery has "
            f"{len(photos)}. Index photos first."
        )
        return report.model_copy(update={"reasons": [reason]})
    try:
        probed = _probe_in_child(content, photos, max_pixels)
    except EncoderError as error:
        return report.model_copy(update={"reasons": [str(error)]})
    return judge_landing(report, probed, labels, *gallery.run(Gallery.all_vectors))


def judge_landing(
    report: AdmissionReport, probed: ProbeResult, probes: Labels, labels: Labels, vectors: Vectors
) -> AdmissionReport:
    """Compare the candidate's vectors of the probes with the stored ones of the whole gallery.

    `probes` int64 [p] labels of the photos that the candidate described, `labels` int64 [n] and `vectors` float32
    [n, D] the whole gallery. Photos with the very same stored vector count as the same photo.
    """
    own_positions = np.searchsorted(labels, probes)
    scores = probed.vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    own = scores[np.arange(len(probes)), own_positions]
    same = vectors[own_positions].astype(np.float64) @ vectors.T.astype(np.float64) > 1 - 1e-4
    best_other = np.where(same, -1.0, scores).max(axis=1)
    mean_cosine = float(own.mean())
    recall = recall_at(own_ranks(scores, own, same), 1)
    reasons = []
    if not mean_cosine >= MEAN_COSINE_FLOOR:
        reasons.append(
            f"Its vectors agree with the teacher's at a mean cosine of {mean_cosine:.3f}; {MEAN_COSINE_FLOOR} is needed."
        )
    if not recall >= SELF_RECALL_FLOOR:
        reasons.append(
            f"{recall:.0%} of {len(probes)} gallery photos find themselves first; {SELF_RECALL_FLOOR:.0%} is needed."
        )
    if reasons:
        reasons.append("Was it distilled from this gallery's teacher?")
    return report.model_copy(
        update={
            "admitted": not reasons,
            "reasons": reasons,
            "probes": len(probes),
            "golden": probed.golden,
            "mean_cosine": mean_cosine,
            "mean_cosine_others": float(scores[~same].mean()) if (~same).any() else None,
            "self_recall_at_1": recall,
            "milliseconds_per_photo": probed.milliseconds_per_photo,
            "matches": _distribution(own),
            "false_matches": _distribution(best_other),
        }
    )


def _choose_probes(gallery: Gallery) -> tuple[Labels, list[Path]]:
    """Up to 200 items with photos, spread evenly over the gallery."""
    candidates = gallery.store.items_with_photo()
    step = max(1.0, len(candidates) / MOST_PROBES)
    chosen = [candidates[int(i * step)] for i in range(min(MOST_PROBES, len(candidates)))]
    labels = np.array([label for label, _ in chosen], dtype=np.int64)
    return labels, [gallery.store.photo_path(photo) for _, photo in chosen]


def _probe_in_child(
    content: bytes, photos: list[Path], max_pixels: int, processor_seconds: int = PROCESSOR_SECONDS
) -> ProbeResult:
    """Run the candidate in a process of its own: a hostile or broken file takes nothing down with it.

    Raises EncoderError when it cannot be loaded, miscomputes, crashes its engine or does not come to an end.
    """
    child = Describer(max_waiting=1, max_pixels=max_pixels, processor_seconds=processor_seconds)
    with tempfile.TemporaryDirectory(prefix="askew-admission-") as folder:
        path = Path(folder) / "candidate.onnx"
        path.write_bytes(content)
        try:
            return child.probe(path, photos).result()
        except BrokenProcessPool:
            raise DamagedEncoder(
                f"The process that ran it ended before it had described {len(photos)} photos: its engine crashed, or it "
                f"used more than {processor_seconds} s of processor time. Try it with `askew check` on your machine."
            ) from None
        finally:
            child.close()


def _distribution(scores: NDArray[np.float64]) -> ScoreDistribution:
    percentiles = np.percentile(scores, np.arange(101))
    return ScoreDistribution(count=len(scores), percentiles=[round(float(p), 6) for p in percentiles])
