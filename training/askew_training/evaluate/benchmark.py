"""Measuring the queries of one encoder against a gallery of another, as defined by a manifest of photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import Scores
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from askew_training.evaluate.ranking import rank_scores

Vectors = Mapping[Path, NDArray[np.float32]]


@dataclass(frozen=True)
class BenchmarkScores:
    """The scores of one benchmark, over all its queries and for each set of them. `gallery`: its number of photos."""

    benchmark: str
    gallery: int
    by_set: dict[str, Scores]


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


def measure(
    photos: Sequence[Photo],
    benchmark: str,
    describe_queries: Callable[[Sequence[Path]], Vectors],
    describe_gallery: Callable[[Sequence[Path]], Vectors],
) -> BenchmarkScores:
    """Search every query in the whole gallery of its benchmark.

    A gallery photo is a positive if it has the query's `instance_id`; one without an id is a distractor. A query that is
    also in the gallery is left out of its own ranking. A query that cannot be described counts as one that found
    nothing, such a gallery photo as one that is never found. Raises DataError for a benchmark without photos, or whose queries have
    no positives.
    """
    queries = photos_of(photos, benchmark, "query")
    gallery = photos_of(photos, benchmark, "gallery")
    query_vectors = describe_queries([photo.path for photo in queries])
    gallery_vectors = describe_gallery([photo.path for photo in gallery])
    if not gallery_vectors:
        raise DataError(f"No gallery photo of benchmark {benchmark!r} can be read.")
    dim = len(next(iter(gallery_vectors.values())))
    try:
        by_set = rank_scores(
            _matrix(queries, query_vectors, dim),
            _matrix(gallery, gallery_vectors, dim),
            [photo.instance_id for photo in queries],
            [photo.instance_id for photo in gallery],
            [photo.set_name for photo in queries],
            _own_rows(queries, gallery),
        )
    except DataError as error:
        raise DataError(f"Benchmark {benchmark!r}: {error}") from None
    return BenchmarkScores(benchmark, len(gallery), by_set)


def _matrix(photos: Sequence[Photo], vectors: Vectors, dim: int) -> NDArray[np.float32]:
    """float32 [n, D], NaN for a photo that could not be described."""
    missing = np.full(dim, np.nan, dtype=np.float32)
    return np.stack([vectors.get(photo.path, missing) for photo in photos])


def _own_rows(queries: Sequence[Photo], gallery: Sequence[Photo]) -> list[int]:
    row_of = {photo.path: row for row, photo in enumerate(gallery)}
    return [row_of.get(photo.path, -1) for photo in queries]
