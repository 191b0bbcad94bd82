"""Measuring a method on a described benchmark: query by query, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from askew_training.errors import DataError
from askew_training.evaluate.benchmark import FIRST, BenchmarkOutcome, judge
from askew_training.evaluate.judged_ranks import JudgedRanks
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.query_outcome import QueryOutcome, outcome_of
from askew_training.evaluate.search_time.described import DescribedBenchmark
from askew_training.evaluate.search_time.method import Method, ReadyGallery

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
    """Search every query in the whole gallery, and judge what is found as `askew evaluate` does.

    Raises DataError if the method does not fit the benchmark, or if its queries ask for two definitions of average precision.
    """
    began = time.perf_counter()
    ready = method.prepare(benchmark.gallery_vectors, benchmark.others)
    prepared = time.perf_counter() - began
    measurements = _ranked(ready, benchmark).measurements(
        benchmark.query_side,
        benchmark.gallery_side,
        {"method": method.name, **method.settings},
        {"cannot be described": [photo.id for photo in (*benchmark.unseen, *benchmark.lost)]},
    )
    if len(measurements) > 1:
        raise DataError(
            f"The queries of benchmark {benchmark.name!r} ask for two definitions of average precision, the column ap of the "
            "manifest. Expected one for a benchmark whose methods are compared."
        )
    milliseconds = _milliseconds(ready, benchmark)
    return Measured(method, measurements[0], milliseconds, ready.bytes_per_vector, prepared)


def _ranked(ready: ReadyGallery, benchmark: DescribedBenchmark) -> BenchmarkOutcome:
    """How every query does. One that cannot be described finds nothing, and a gallery photo that cannot is never found."""
    queries, gallery = (*benchmark.queries, *benchmark.unseen), (*benchmark.gallery, *benchmark.lost)
    judged, ids = judge(queries, gallery), [photo.id for photo in gallery]
    outcomes: list[QueryOutcome] = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        these = slice(start, start + QUERIES_AT_ONCE)
        scores = np.full((len(queries[these]), len(gallery)), np.nan, np.float32)
        vectors = benchmark.query_vectors[these]
        if len(vectors):
            scores[: len(vectors), : len(benchmark.gallery)] = ready.score(vectors, benchmark.own[these])
        for row, each in zip(scores, judged[these], strict=True):
            row[each.own] = np.nan
        places = JudgedRanks(scores, [each.rows for each in judged[these]], FIRST).places()
        outcomes += [
            outcome_of(photo, each, found, ids)
            for photo, each, found in zip(queries[these], judged[these], places, strict=True)
        ]
    return BenchmarkOutcome(benchmark.name, len(gallery), tuple(outcomes))


def _milliseconds(ready: ReadyGallery, benchmark: DescribedBenchmark) -> float:
    """The median time of one query, searched alone."""
    times = []
    for row in range(min(TIMED_QUERIES, len(benchmark.queries))):
        one = slice(row, row + 1)
        began = time.perf_counter()
        ready.score(benchmark.query_vectors[one], benchmark.own[one])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
