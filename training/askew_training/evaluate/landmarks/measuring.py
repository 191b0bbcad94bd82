"""Measuring a pair of encoders on the retrieval track of Google Landmarks v2: mAP@100, for Public and Private separately."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.evaluate.judged_ranks import JudgedRanks, Places
from askew_training.evaluate.landmarks.solution import USAGES, LandmarkQuery, Usage
from askew_training.evaluate.measurement import Found, Measurement, QueryResult, Side
from askew_training.evaluate.precision import standard_average_precision

DATASET = "gldv2"
DEPTH = 100
"""How far down a ranking counts."""
PRECISION_AT = (1, 5, 10)
NO_POSITIVES = "queries without positives"
LOST_POSITIVES = "positives that the index lacks"

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Conditions:
    """What is recorded of a measurement: its encoders and settings, and by reason the images left out."""

    queries: Side
    gallery: Side
    settings: Mapping[str, str | float | bool] = field(default_factory=dict)
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)


def measure_landmarks(
    queries: Sequence[LandmarkQuery],
    query_vectors: Vectors,
    index: Sequence[str],
    index_blocks: Iterable[Vectors],
    conditions: Conditions,
    first: int = 10,
) -> list[Measurement]:
    """Measure the parts that have queries, public before private.

    `query_vectors`: float32 [n, D] unit vectors, NaN for a query without one, which is left out. `index`: the ids of the
    index images, in the order of the rows of `index_blocks`: float32 [b, D], read once. Positives that `index` lacks were
    not fetched: they are left out of the number of positives and recorded. Average precision is 1/min(m, 100) · Σ P(k) ·
    rel(k) over the first 100. Raises DataError if no query has a vector, if none has a positive, and for blocks that do not fit `index`.
    """
    has_vector = np.asarray(~np.isnan(query_vectors).any(axis=1), dtype=np.bool_)
    asked = [query for query, there in zip(queries, has_vector, strict=True) if there]
    if not asked:
        raise DataError(f"No query of {DATASET} has a vector.")
    chosen = np.ascontiguousarray(query_vectors[has_vector])
    ranks = JudgedRanks(np.empty((len(asked), 0), np.float32), [np.empty(0, np.int64)] * len(asked), max(first, DEPTH))
    for block in index_blocks:
        ranks.add(chosen @ block.T)
    if ranks.photos != len(index):
        raise DataError(f"Expected vectors of {len(index):,} index images, got {ranks.photos:,}.")
    row_of = {image: row for row, image in enumerate(index)}
    results: dict[Usage, list[QueryResult]] = {usage: [] for usage in USAGES}
    lost: dict[Usage, dict[str, None]] = {usage: {} for usage in USAGES}
    for query, places in zip(asked, ranks.places(), strict=True):
        results[query.usage].append(_result(query, places, row_of, index, first))
        lost[query.usage] |= dict.fromkeys(image for image in query.positives if image not in row_of)
    if not any(result.positives for part in results.values() for result in part):
        raise DataError(
            f"None of {len(asked):,} queries of {DATASET} has a positive among the {len(index):,} index images. Expected images "
            "that the solution names: fetch more of the index."
        )
    return [
        Measurement(
            dataset=DATASET,
            protocol=usage,
            average_precision="standard",
            metric=f"mAP@{DEPTH}",
            queries=conditions.queries,
            gallery=conditions.gallery,
            gallery_photos=len(index),
            settings=dict(conditions.settings),
            results=tuple(results[usage]),
            excluded=_excluded(conditions.excluded, results[usage], lost[usage]),
        )
        for usage in USAGES
        if results[usage]
    ]


def _result(
    query: LandmarkQuery, places: Places, row_of: Mapping[str, int], index: Sequence[str], first: int
) -> QueryResult:
    positives = {row_of[image] for image in query.positives if image in row_of}
    head = places.first_rows.tolist()
    ranks = np.array([rank for rank, row in enumerate(head) if row in positives], dtype=np.int64)
    count = len(positives)
    return QueryResult(
        id=query.id,
        instance=query.landmark,
        set_name=query.usage,
        positives=count,
        average_precision=standard_average_precision(ranks, count, DEPTH) if count else None,
        precision={k: float((ranks < k).sum() / k) for k in PRECISION_AT} if count else {},
        first=tuple(
            Found(id=index[row], score=float(score), relevance="right" if row in positives else "wrong")
            for row, score in zip(head[:first], places.first_scores.tolist(), strict=False)
        ),
    )


def _excluded(
    common: Mapping[str, Sequence[str]], results: Sequence[QueryResult], lost: Mapping[str, None]
) -> dict[str, tuple[str, ...]]:
    reasons = {
        **common,
        LOST_POSITIVES: tuple(lost),
        NO_POSITIVES: tuple(result.id for result in results if not result.positives),
    }
    return {reason: tuple(names) for reason, names in reasons.items() if names}
