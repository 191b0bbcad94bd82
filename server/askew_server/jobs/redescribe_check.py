"""The verification at the end of a re-description: does the new gallery hold what its teacher makes of the photos?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.jobs import RedescribeVerification
from askew_client.contract.problems import ProblemKind
from askew_client.errors import PhotoError
from askew_server.encoders.describer import Described
from askew_server.errors import Refusal
from askew_server.gallery.live import LiveGallery
from askew_server.gallery.ranking import ranked
from askew_server.jobs.gallery_access import JobDescriber, awake
from askew_server.jobs.kind import Cancelled
from askew_server.storage.port import ItemReader
from askew_server.storage.reader import ItemRow
from askew_server.storage.vectors import unpack_vector

SELF_SAMPLE = 100
"""How many items must find themselves first."""
FRESH_SAMPLE = 5
"""How many photos are described once more."""
FRESH_COSINE_FLOOR = 0.999


@dataclass(frozen=True)
class RedescribedGallery:
    """A gallery that was filled: what to check it with, the items it should have, and the ids of a sample of them."""

    gallery: LiveGallery
    reader: ItemReader
    describer: JobDescriber
    expected: int
    sample: list[str]


def check_redescribed(filled: RedescribedGallery, cancelled: Cancelled) -> RedescribeVerification:
    """Check that every photo is there, that items find themselves, and that vectors are those of the teacher.

    Raises Refusal (verification-failed), JobStopped.
    """
    _, items_with_photo = filled.reader.counts()
    rows = [row for row in map(filled.reader.item, filled.sample) if row is not None]
    found = sum(_finds_itself(filled, row, cancelled) for row in rows)
    again = [row for row in rows[:: max(1, len(rows) // FRESH_SAMPLE)] if row.photo is not None][:FRESH_SAMPLE]
    fresh = filled.describer.describe([filled.reader.photo_path(row.photo or "") for row in again])
    cosines = [_cosine(unpack_vector(row.vector), vector) for row, vector in zip(again, fresh, strict=True)]
    verification = RedescribeVerification(
        items=items_with_photo,
        expected=filled.expected,
        find_themselves=found,
        searched=len(filled.sample),
        described_again=len(cosines),
        lowest_cosine=round(min(cosines), 6) if cosines else None,
    )
    faults = _faults(verification, min(cosines, default=1.0))
    if faults:
        raise Refusal(
            ProblemKind.VERIFICATION_FAILED,
            f"Gallery {filled.gallery.name!r} failed the verification: {'; '.join(faults)}. Do not switch to it. If the old "
            "gallery was being written to, send the request again once it is not.",
            {"verification": verification.model_dump(mode="json")},
        )
    return verification


def _faults(verification: RedescribeVerification, lowest_cosine: float) -> list[str]:
    faults = []
    if verification.items != verification.expected:
        faults.append(f"it has {verification.items} items with a photo, {verification.expected} were expected")
    if verification.find_themselves != verification.searched:
        faults.append(f"{verification.find_themselves} of {verification.searched} items find themselves first")
    if lowest_cosine < FRESH_COSINE_FLOOR:
        faults.append(f"a photo described again has a cosine of {lowest_cosine:.4f} with its stored vector")
    return faults


def _finds_itself(filled: RedescribedGallery, row: ItemRow, cancelled: Cancelled) -> bool:
    query = unpack_vector(row.vector)
    with awake(filled.gallery, cancelled) as index:
        (labels,) = index.search_blocking(query[None], 1).labels
    hits = ranked(filled.reader.candidates(labels[labels >= 0].tolist()), query)
    own_score = float(query.astype(np.float64) @ query.astype(np.float64))
    # Another item with exactly the same vector is an equally good answer.
    return bool(hits) and (hits[0].id == row.id or hits[0].score >= min(1.0, own_score) - 1e-5)


def _cosine(stored: NDArray[np.float32], described: Described) -> float:
    if isinstance(described, PhotoError):
        return 0.0
    one, other = stored.astype(np.float64), described.astype(np.float64)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
