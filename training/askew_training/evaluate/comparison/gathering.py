"""Measuring pairs of encoders on benchmarks of a manifest, each photo described once by each encoder that needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.evaluate.alignment.diagnosis import Diagnosis, diagnose
from askew_training.evaluate.alignment.distributions import Distribution, distribution_of
from askew_training.evaluate.alignment.lost_queries import Loss, lost_most
from askew_training.evaluate.benchmark import photos_of
from askew_training.evaluate.comparison.matrix import FOREIGN_SPACE
from askew_training.evaluate.comparison.measuring import measure_pair, relevance_of
from askew_training.evaluate.comparison.pairs import Pair
from askew_training.evaluate.measurement import Measurement, Side

Describe = Callable[[Side, str, Sequence[Photo]], NDArray[np.float32]]
"""Encoder, role and photos to float32 [n, D], NaN for a photo that it cannot describe."""


@dataclass(frozen=True)
class Observed:
    """What was found of a pair on one benchmark. `diagnosis`: None for a symmetric pair, or if no query can be described."""

    measurement: Measurement
    distribution: Distribution
    diagnosis: Diagnosis | None
    lost: tuple[Loss, ...] = ()


@dataclass
class _Benchmark:
    """Vectors of a benchmark, by role and encoder."""

    name: str
    queries: list[Photo]
    gallery: list[Photo]
    describe: Describe
    _vectors: dict[tuple[str, str], NDArray[np.float32]] = field(default_factory=dict)

    def vectors(self, side: Side, role: str) -> NDArray[np.float32]:
        """float32 [n, D] of the role's photos."""
        key = role, side.sha256
        if key not in self._vectors:
            photos = self.queries if role == "query" else self.gallery
            self._vectors[key] = self.describe(side, role, photos)
        return self._vectors[key]

    def excluded(self, queries: Side, gallery: Side) -> Mapping[str, Sequence[str]]:
        """Which photos have no vector."""
        left_out = {
            f"{name} that cannot be described": [
                photo.id
                for photo, vector in zip(photos, self.vectors(side, role), strict=True)
                if not np.isfinite(vector).all()
            ]
            for name, role, side, photos in (
                ("queries", "query", queries, self.queries),
                ("gallery photos", "gallery", gallery, self.gallery),
            )
        }
        return {reason: names for reason, names in left_out.items() if names}


def observe(photos: Sequence[Photo], benchmark: str, pairs: Sequence[Pair], describe: Describe) -> list[Observed]:
    """Measure pairs on a benchmark, in their order. Raises DataError for a benchmark without queries or gallery."""
    known = _Benchmark(
        benchmark, photos_of(photos, benchmark, "query"), photos_of(photos, benchmark, "gallery"), describe
    )
    relevance = relevance_of(known.queries, known.gallery)
    by_teacher: dict[str, Measurement] = {}
    return [_observe(known, relevance, pair, by_teacher) for pair in pairs]


def _observe(
    known: _Benchmark, relevance: NDArray[np.int8], pair: Pair, by_teacher: dict[str, Measurement]
) -> Observed:
    """`by_teacher`: the symmetric measurements so far, by encoder file, to which this adds."""
    own, gallery = known.vectors(pair.queries, "query"), known.vectors(pair.gallery, "gallery")
    measurement = _measure(known, relevance, pair)
    diagnosis: Diagnosis | None = None
    lost: list[Loss] = []
    if pair.queries.sha256 != pair.gallery.sha256:
        teacher = known.vectors(pair.gallery, "query")
        if np.isfinite(own[:, :1] + teacher[:, :1]).any() and np.isfinite(gallery[:, :1]).any():
            diagnosis = diagnose(own, teacher, gallery, relevance < 0)
        if pair.gallery.sha256 not in by_teacher:
            symmetric = Pair(pair.gallery, pair.gallery, is_foreign=False)
            by_teacher[pair.gallery.sha256] = _measure(known, relevance, symmetric)
        lost = lost_most(measurement, by_teacher[pair.gallery.sha256])
    return Observed(measurement, distribution_of(own, gallery, relevance), diagnosis, tuple(lost))


def _measure(known: _Benchmark, relevance: NDArray[np.int8], pair: Pair) -> Measurement:
    return measure_pair(
        known.name,
        (known.queries, known.gallery),
        (known.vectors(pair.queries, "query"), known.vectors(pair.gallery, "gallery")),
        relevance,
        (pair.queries, pair.gallery),
        {FOREIGN_SPACE: True} if pair.is_foreign else {},
        known.excluded(pair.queries, pair.gallery),
    )
