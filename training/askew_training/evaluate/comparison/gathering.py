"""Measuring pairs of encoders on a benchmark of a manifest; each encoder describes each of its photos once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.evaluate.alignment.diagnosis import Diagnosis, diagnose
from askew_training.evaluate.alignment.distributions import Distribution, distribution_of
from askew_training.evaluate.alignment.lost_queries import LIMIT, Loss, lost_most
from askew_training.evaluate.benchmark import Vectors, View, check_benchmark, photos_of, rank_benchmark, view_of
from askew_training.evaluate.comparison.matrix import FOREIGN_SPACE
from askew_training.evaluate.comparison.pairs import Pair
from askew_training.evaluate.comparison.relevance import relevance_of
from askew_training.evaluate.measurement import Measurement, Side

Describe = Callable[[Side, str, Sequence[View]], Vectors]
"""Encoder, role and views to unit vectors, float32 [D], by view; without those that cannot be described."""

ALONE = "queries without positives"
"""Why a measurement excludes queries that show what no other photo of their gallery does."""


@dataclass(frozen=True)
class Observed:
    """What was found of a pair on one benchmark.

    `measurements`: one, or one for each definition of average precision. `diagnosis`: None for a symmetric pair, or if no
    query can be described. `lost`: the queries that lost most against the gallery's own encoder.
    """

    benchmark: str
    measurements: tuple[Measurement, ...]
    distribution: Distribution
    diagnosis: Diagnosis | None = None
    lost: tuple[Loss, ...] = ()


@dataclass
class Benchmark:
    """The photos of a benchmark, and what encoders made of them.

    Raises DataError, when it is made, as `check_benchmark` does.
    """

    photos: Sequence[Photo]
    name: str
    describe: Describe
    queries: list[Photo] = field(init=False)
    gallery: list[Photo] = field(init=False)
    _vectors: dict[tuple[str, str], Vectors] = field(default_factory=dict)
    _measured: dict[tuple[str, str], tuple[Measurement, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Choose the photos of each role."""
        check_benchmark(self.photos, self.name)
        self.queries = photos_of(self.photos, self.name, "query")
        self.gallery = photos_of(self.photos, self.name, "gallery")

    def vectors(self, side: Side, role: str) -> Vectors:
        """The vectors of the role's photos."""
        key = side.sha256, role
        if key not in self._vectors:
            chosen = self.queries if role == "query" else self.gallery
            self._vectors[key] = self.describe(side, role, [view_of(photo) for photo in chosen])
        return self._vectors[key]

    def matrix(self, side: Side, role: str) -> NDArray[np.float32]:
        """The same as rows, float32 [n, D], NaN for those that cannot be described."""
        vectors, missing = self.vectors(side, role), np.full(side.dim, np.nan, dtype=np.float32)
        chosen = self.queries if role == "query" else self.gallery
        return np.stack([vectors.get(view_of(photo), missing) for photo in chosen])

    def measure(self, pair: Pair) -> tuple[Measurement, ...]:
        """Search all queries in the gallery, as `askew evaluate` does. Raises DataError if no gallery photo can be read."""
        key = pair.queries.sha256, pair.gallery.sha256
        if key not in self._measured:
            outcome = rank_benchmark(
                self.photos,
                self.name,
                lambda _: self.vectors(pair.queries, "query"),
                lambda _: self.vectors(pair.gallery, "gallery"),
            )
            excluded = {
                **self._not_described(pair),
                ALONE: [each.result.id for each in outcome.queries if not each.result.positives],
            }
            made = outcome.measurements(pair.queries, pair.gallery, _settings(pair), excluded)
            # A definition that only queries without positives ask for has nothing to compare.
            self._measured[key] = tuple(each for each in made if each.counted)
        return self._measured[key]

    def announce(self, pair: Pair) -> list[Measurement]:
        """What `measure` will return, without results: nothing is described."""
        definitions = dict.fromkeys(photo.average_precision for photo in self.queries)
        return [
            Measurement(
                dataset=self.name,
                protocol="instances",
                average_precision=definition,
                queries=pair.queries,
                gallery=pair.gallery,
                gallery_photos=len(self.gallery),
                settings=_settings(pair),
                results=(),
            )
            for definition in definitions
        ]

    def _not_described(self, pair: Pair) -> Mapping[str, Sequence[str]]:
        queries, gallery = self.vectors(pair.queries, "query"), self.vectors(pair.gallery, "gallery")
        return {
            "queries that cannot be described, counted as finding nothing": [
                photo.id for photo in self.queries if view_of(photo) not in queries
            ],
            "gallery photos that cannot be described, counted as never found": [
                photo.id for photo in self.gallery if view_of(photo) not in gallery
            ],
        }


def _settings(pair: Pair) -> dict[str, str | float | bool]:
    settings: dict[str, str | float | bool] = {"scores": "rounded to 1e-6"}
    return settings | {FOREIGN_SPACE: True} if pair.is_foreign else settings


def observe(benchmark: Benchmark, pairs: Sequence[Pair]) -> list[Observed]:
    """Measure pairs on a benchmark, in their order. Raises DataError as `Benchmark.measure` does."""
    relevance = relevance_of(benchmark.queries, benchmark.gallery)
    return [_observe(benchmark, relevance, pair) for pair in pairs]


def _observe(benchmark: Benchmark, relevance: NDArray[np.int8], pair: Pair) -> Observed:
    measurements = benchmark.measure(pair)
    queries, gallery = benchmark.matrix(pair.queries, "query"), benchmark.matrix(pair.gallery, "gallery")
    distribution = distribution_of(queries, gallery, relevance)
    if pair.queries.sha256 == pair.gallery.sha256:
        return Observed(benchmark.name, measurements, distribution)
    teacher = benchmark.matrix(pair.gallery, "query")
    by_both = np.isfinite(queries[:, 0] + teacher[:, 0])
    diagnosis = diagnose(queries, teacher, gallery, relevance < 0) if by_both.any() else None
    symmetric = benchmark.measure(Pair(pair.gallery, pair.gallery, is_foreign=False))
    lost = [loss for own, theirs in zip(measurements, symmetric, strict=True) for loss in lost_most(own, theirs)]
    worst = sorted(lost, key=lambda loss: loss.student - loss.teacher)[:LIMIT]
    return Observed(benchmark.name, measurements, distribution, diagnosis, tuple(worst))
