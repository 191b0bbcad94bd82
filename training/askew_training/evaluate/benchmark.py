"""Queries of one encoder against a gallery that another one described, as a manifest of photos defines it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from askew_training.evaluate.metrics import Scores, positive_ranks, score

TOGETHER = "together"
Vectors = Mapping[Path, NDArray[np.float32]]


@dataclass(frozen=True)
class BenchmarkScores:
    """The scores of one benchmark: all its queries together, and by the set that they come from."""

    benchmark: str
    gallery: int
    by_set: dict[str, Scores]


def benchmarks_in(photos: Sequence[Photo]) -> list[str]:
    """The benchmarks that have queries, in the order of the manifest."""
    return list(dict.fromkeys(photo.benchmark for photo in photos if photo.role == "query"))


def photos_of(photos: Sequence[Photo], benchmark: str, role: str) -> list[Photo]:
    """The queries or the gallery of a benchmark. Raises DataError when there are none."""
    chosen = [photo for photo in photos if photo.benchmark == benchmark and photo.role == role]
    if not chosen:
        known = ", ".join(benchmarks_in(photos)) or "none"
        raise DataError(f"There is no {role} photo of benchmark {benchmark!r}. The manifest has: {known}.")
    return chosen


def measure(
    photos: Sequence[Photo],
    benchmark: str,
    describe_queries: Callable[[Sequence[Path]], Vectors],
    describe_gallery: Callable[[Sequence[Path]], Vectors],
) -> BenchmarkScores:
    """Search every query in the whole gallery of its benchmark.

    A gallery photo is a positive when it has the query's `instance_id`; an empty one is a distractor. A
    query that cannot be described counts as one that found nothing, a gallery photo as one that is never
    found. Raises DataError for a benchmark without photos, or whose queries have no positives.
    """
    queries = photos_of(photos, benchmark, "query")
    gallery = photos_of(photos, benchmark, "gallery")
    query_vectors = describe_queries([photo.path for photo in queries])
    gallery_vectors = describe_gallery([photo.path for photo in gallery])
    described = [photo for photo in gallery if photo.path in gallery_vectors]
    if not described:
        raise DataError(f"No gallery photo of benchmark {benchmark!r} can be read.")
    matrix = np.stack([gallery_vectors[photo.path] for photo in described])
    ranks, positives = [], []
    for query in queries:
        ranking = _ranking(query_vectors.get(query.path), matrix)
        matches = np.array([i for i, photo in enumerate(described) if _is_match(query, photo)], dtype=np.int64)
        ranks.append(positive_ranks(ranking, matches, np.empty(0, dtype=np.int64)))
        positives.append(sum(_is_match(query, photo) for photo in gallery))
    if not any(positives):
        raise DataError(f"No query of benchmark {benchmark!r} has a match in its gallery.")
    return BenchmarkScores(benchmark, len(gallery), _by_set(queries, ranks, positives))


def _is_match(query: Photo, photo: Photo) -> bool:
    return bool(query.instance_id) and photo.instance_id == query.instance_id


def _ranking(query: NDArray[np.float32] | None, gallery: NDArray[np.float32]) -> NDArray[np.int64]:
    """Gallery indices, best first: by score rounded to 1e-6, as a server orders hits, then by place."""
    if query is None:
        return np.empty(0, dtype=np.int64)
    scores = np.round(gallery @ query, 6)
    return np.asarray(np.argsort(-scores, kind="stable"), dtype=np.int64)


def _by_set(
    queries: Sequence[Photo], ranks: Sequence[NDArray[np.int64]], positives: Sequence[int]
) -> dict[str, Scores]:
    by_set = {TOGETHER: score(ranks, positives)}
    for set_name in dict.fromkeys(query.set_name for query in queries):
        chosen = [i for i, query in enumerate(queries) if query.set_name == set_name and positives[i]]
        if chosen:
            by_set[set_name] = score([ranks[i] for i in chosen], [positives[i] for i in chosen])
    return by_set
