"""Measuring the queries of one encoder against a gallery of another, as defined by a manifest of photos."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import Scores
from askew_training.data.crops import Crop
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from askew_training.evaluate.judged_ranks import JudgedRanks
from askew_training.evaluate.measurement import Measurement, QueryResult, Side
from askew_training.evaluate.query_outcome import Judged, QueryOutcome, outcome_of, scores_by_set

View = Path | Crop
"""What is described of a photo: all of it, or a box."""
Vectors = Mapping[View, NDArray[np.float32]]
Describe = Callable[[Sequence[View]], Vectors]

VALUES_AT_ONCE = 1 << 24
"""Scores in memory at a time: 64 MB."""
FIRST = 10
"""How many photos at the head of each ranking a measurement keeps."""


@dataclass(frozen=True)
class BenchmarkScores:
    """The scores of one benchmark, over all its queries and for each set of them. `gallery`: its number of photos."""

    benchmark: str
    gallery: int
    by_set: dict[str, Scores]


@dataclass(frozen=True)
class BenchmarkOutcome:
    """How every query of a benchmark did. `gallery`: its number of photos."""

    benchmark: str
    gallery: int
    queries: tuple[QueryOutcome, ...]

    @property
    def scores(self) -> BenchmarkScores:
        """The means over all queries and over each set. Raises DataError if no query has a positive."""
        by_set = scores_by_set(self.queries)
        if not by_set:
            raise DataError(_no_match(self.benchmark))
        return BenchmarkScores(self.benchmark, self.gallery, by_set)

    def measurements(
        self,
        queries: Side,
        gallery: Side,
        settings: Mapping[str, str | float | bool],
        excluded: Mapping[str, Sequence[str]],
    ) -> list[Measurement]:
        """The measurements: one, or one for each definition of average precision that its sets ask for."""
        definitions = dict.fromkeys(each.definition for each in self.queries)
        return [
            Measurement(
                dataset=self.benchmark,
                protocol="instances",
                average_precision=definition,
                queries=queries,
                gallery=gallery,
                gallery_photos=self.gallery,
                settings=dict(settings),
                results=_with_own_ids([each.result for each in self.queries if each.definition == definition]),
                excluded={reason: tuple(ids) for reason, ids in excluded.items() if ids},
            )
            for definition in definitions
        ]


def benchmarks_in(photos: Sequence[Photo]) -> list[str]:
    """List the benchmarks that have queries, in the order of the manifest."""
    return list(dict.fromkeys(photo.benchmark for photo in photos if photo.role == "query"))


def photos_of(photos: Sequence[Photo], benchmark: str, role: str) -> list[Photo]:
    """List the queries or the gallery of a benchmark. Raises DataError if there are none."""
    chosen = [photo for photo in photos if photo.benchmark == benchmark and photo.role == role]
    if not chosen:
        known = ", ".join(benchmarks_in(photos)) or "none"
        raise DataError(f"The benchmark {benchmark!r} has no {role} photo. The manifest has these benchmarks: {known}.")
    return chosen


def check_benchmark(photos: Sequence[Photo], benchmark: str) -> None:
    """Look at a benchmark before its photos are described.

    Raises DataError for one without queries or a gallery, for one without any query that has a match in the gallery, and for a
    set whose queries ask for two definitions of average precision.
    """
    queries, gallery = photos_of(photos, benchmark, "query"), photos_of(photos, benchmark, "gallery")
    _check_definitions(queries, benchmark)
    if not any(len(np.setdiff1d(each.positives, each.own)) for each in judge(queries, gallery)):
        raise DataError(_no_match(benchmark))


def view_of(photo: Photo) -> View:
    """What is described of a photo."""
    return photo.path if photo.box is None else Crop(photo.path, photo.box)


def measure(
    photos: Sequence[Photo], benchmark: str, describe_queries: Describe, describe_gallery: Describe
) -> BenchmarkScores:
    """As `rank_benchmark`, and returns the means alone. Raises DataError also if no query has a positive."""
    return rank_benchmark(photos, benchmark, describe_queries, describe_gallery).scores


def rank_benchmark(
    photos: Sequence[Photo],
    benchmark: str,
    describe_queries: Describe,
    describe_gallery: Describe,
    values_at_once: int = VALUES_AT_ONCE,
) -> BenchmarkOutcome:
    """Search every query in the whole gallery of its benchmark.

    A gallery photo is a positive if it shows the query's instance; one without an instance is a distractor. One that is junk
    for that instance is removed from the ranking. A query that is also in the gallery is left out of its own ranking. A
    query that cannot be described counts as one that found nothing, such a gallery photo as one that is never found. Photos
    are ordered by score rounded to 1e-6, as a server orders hits, then by their order in the manifest. Raises DataError for
    a benchmark without photos, and for a set whose queries ask for two definitions of average precision.
    """
    queries = photos_of(photos, benchmark, "query")
    gallery = photos_of(photos, benchmark, "gallery")
    _check_definitions(queries, benchmark)
    query_vectors = describe_queries([view_of(photo) for photo in queries])
    gallery_vectors = describe_gallery([photo.path for photo in gallery])
    if not gallery_vectors:
        raise DataError(f"No gallery photo of benchmark {benchmark!r} can be read.")
    dim = len(next(iter(gallery_vectors.values())))
    query_rows, gallery_rows = _matrix(queries, query_vectors, dim), _matrix(gallery, gallery_vectors, dim)
    judged = judge(queries, gallery)
    ids = [photo.id for photo in gallery]
    outcomes: list[QueryOutcome] = []
    at_once = max(1, values_at_once // len(gallery))
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        with np.errstate(invalid="ignore"):
            scores = np.round(query_rows[part] @ gallery_rows.T, 6)
        for row, each in zip(scores, judged[part], strict=True):
            row[each.own] = np.nan
        ranks = JudgedRanks(scores, [each.rows for each in judged[part]], FIRST)
        for photo, each, places in zip(queries[part], judged[part], ranks.places(), strict=True):
            outcomes.append(outcome_of(photo, each, places, ids))
    return BenchmarkOutcome(benchmark, len(gallery), tuple(outcomes))


def judge(queries: Sequence[Photo], gallery: Sequence[Photo]) -> list[Judged]:
    """Which photos of a gallery are right, junk, or the query itself, for each query."""
    shown: dict[str, list[int]] = defaultdict(list)
    junk: dict[str, list[int]] = defaultdict(list)
    rows_of: dict[Path, list[int]] = defaultdict(list)
    for row, photo in enumerate(gallery):
        rows_of[photo.path].append(row)
        for instance in dict.fromkeys(photo.instances):
            shown[instance].append(row)
        for instance in photo.junk_for:
            junk[instance].append(row)
    return [
        Judged(
            positives=np.array(shown.get(photo.instance_id, []), dtype=np.int64),
            junk=np.array(junk.get(photo.instance_id, []), dtype=np.int64),
            own=np.array(rows_of.get(photo.path, []), dtype=np.int64),
        )
        for photo in queries
    ]


def _no_match(benchmark: str) -> str:
    return f"Benchmark {benchmark!r}: No query has a match in the gallery. Expected gallery photos with the queries' instance_id."


def _check_definitions(queries: Sequence[Photo], benchmark: str) -> None:
    definitions: dict[str, str] = {}
    for photo in queries:
        if definitions.setdefault(photo.set_name, photo.average_precision) != photo.average_precision:
            raise DataError(
                f"Benchmark {benchmark!r}: the queries of the set {photo.set_name!r} have the ap trapezoid and standard, such as "
                f"{photo.id}. Expected one for a set."
            )


def _matrix(photos: Sequence[Photo], vectors: Vectors, dim: int) -> NDArray[np.float32]:
    """float32 [n, D], NaN for a photo that could not be described."""
    missing = np.full(dim, np.nan, dtype=np.float32)
    return np.stack([vectors.get(view_of(photo), missing) for photo in photos])


def _with_own_ids(results: Sequence[QueryResult]) -> tuple[QueryResult, ...]:
    """A photo may be searched for several boxes: its second query is called `id#2`."""
    seen: Counter[str] = Counter()
    own = []
    for result in results:
        seen[result.id] += 1
        number = seen[result.id]
        own.append(result if number == 1 else result.model_copy(update={"id": f"{result.id}#{number}"}))
    return tuple(own)
