"""Measuring a method on a described benchmark: query by query, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import average_precision, precision_at
from askew_training.data.photo_sets import Photo
from askew_training.evaluate.measurement import Found, Measurement, QueryResult
from askew_training.evaluate.search_time.described import DescribedBenchmark
from askew_training.evaluate.search_time.method import Method, ReadyGallery

FIRST = 10
PRECISION_AT = (1, 5, 10)
TIMED_QUERIES = 30
QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class Measured:
    """What a method reached, and its cost.

    `milliseconds`: the median time of one query, searched alone. `preparation_seconds`: to make the gallery ready.
    """

    method: Method
    measurement: Measurement
    milliseconds: float
    bytes_per_vector: float
    preparation_seconds: float


def measure_method(method: Method, benchmark: DescribedBenchmark) -> Measured:
    """Search every query in the whole gallery.

    A gallery photo is a positive if it has the query's `instance_id`. A query that is also in the gallery is left out of its own
    ranking. A query that cannot be described found nothing, and a gallery photo that cannot is never found. Raises DataError if the
    method does not fit the benchmark.
    """
    began = time.perf_counter()
    ready = method.prepare(benchmark.gallery_vectors, benchmark.others)
    prepared = time.perf_counter() - began
    results = [_nothing_found(photo, benchmark) for photo in benchmark.unseen]
    for start in range(0, len(benchmark.queries), QUERIES_AT_ONCE):
        these = slice(start, start + QUERIES_AT_ONCE)
        scores = ready.score(benchmark.query_vectors[these], benchmark.own[these])
        results += [
            _result(photo, int(own), row, benchmark)
            for photo, own, row in zip(benchmark.queries[these], benchmark.own[these], scores, strict=True)
        ]
    measurement = Measurement(
        dataset=benchmark.name,
        protocol="instances",
        queries=benchmark.query_side,
        gallery=benchmark.gallery_side,
        gallery_photos=len(benchmark.gallery),
        distractors=sum(not photo.instance_id for photo in benchmark.gallery),
        settings={"method": method.name, **method.settings},
        results=tuple(results),
        excluded=_excluded(benchmark),
    )
    return Measured(method, measurement, _milliseconds(ready, benchmark), ready.bytes_per_vector, prepared)


def _result(query: Photo, own: int, scores: NDArray[np.float32], benchmark: DescribedBenchmark) -> QueryResult:
    order = np.argsort(-scores, kind="stable")
    order = order[order != own]
    is_right = np.array([_shows_same(query, benchmark.gallery[row]) for row in order], np.bool_)
    ranks = np.flatnonzero(is_right)
    positives = _positives(query, benchmark)
    return QueryResult(
        id=query.id,
        instance=query.instance_id,
        set_name=query.set_name,
        positives=positives,
        average_precision=average_precision(ranks, positives) if positives else None,
        precision={k: precision_at(ranks, k) for k in PRECISION_AT},
        first=tuple(
            Found(
                id=benchmark.gallery[row].id,
                score=float(scores[row]),
                relevance="right" if _shows_same(query, benchmark.gallery[row]) else "wrong",
            )
            for row in order[:FIRST]
        ),
    )


def _nothing_found(query: Photo, benchmark: DescribedBenchmark) -> QueryResult:
    positives = _positives(query, benchmark)
    return QueryResult(
        id=query.id,
        instance=query.instance_id,
        set_name=query.set_name,
        positives=positives,
        average_precision=0.0 if positives else None,
        precision=dict.fromkeys(PRECISION_AT, 0.0),
    )


def _positives(query: Photo, benchmark: DescribedBenchmark) -> int:
    """How many photos of the gallery show the same, those among them that cannot be described, too."""
    return sum(
        _shows_same(query, photo) and photo.path != query.path for photo in (*benchmark.gallery, *benchmark.lost)
    )


def _shows_same(query: Photo, photo: Photo) -> bool:
    return bool(query.instance_id) and photo.instance_id == query.instance_id


def _excluded(benchmark: DescribedBenchmark) -> dict[str, tuple[str, ...]]:
    missing = tuple(photo.id for photo in (*benchmark.unseen, *benchmark.lost))
    return {"cannot be described": missing} if missing else {}


def _milliseconds(ready: ReadyGallery, benchmark: DescribedBenchmark) -> float:
    """The median time of one query, searched alone."""
    times = []
    for row in range(min(TIMED_QUERIES, len(benchmark.queries))):
        one = slice(row, row + 1)
        began = time.perf_counter()
        ready.score(benchmark.query_vectors[one], benchmark.own[one])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
