"""Measuring a pair of encoders on revisited Oxford or Paris, from their vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from askew_client.metrics import average_precision, precision_at
from askew_training.errors import DataError
from askew_training.evaluate.judged_ranks import JudgedRanks, Places, without_junk
from askew_training.evaluate.measurement import Found, Measurement, QueryResult, Relevance, Side
from askew_training.evaluate.revisited.ground_truth import GroundTruth, Query, Rows
from askew_training.evaluate.revisited.protocols import PROTOCOLS, Protocol, judged_of, junk_of, positives_of

PRECISION_AT = (1, 5, 10)
FIRST = 10
"""How many photos at the head of each ranking a measurement keeps."""
NO_POSITIVES = "queries without positives"

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Distractors:
    """Photos that nobody judged: float32 [b, D] blocks of unit vectors, in their order; NaN for a photo without one.

    `ids`: names of the first ones, by row; the rest are named by their number. `unreadable`: photos without a row.
    """

    blocks: Iterable[Vectors] = ()
    ids: Sequence[str] = ()
    unreadable: Sequence[str] = ()

    def name(self, row: int) -> str:
        """What reports call a distractor."""
        return self.ids[row] if row < len(self.ids) else f"distractor {row:,}"


@dataclass(frozen=True)
class Conditions:
    """What is recorded of a measurement: its dataset, encoders and settings, and by reason the photos left out."""

    dataset: str
    queries: Side
    gallery: Side
    settings: Mapping[str, str | float | bool] = field(default_factory=dict)
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)


def measure_revisited(
    truth: GroundTruth,
    queries: Vectors,
    gallery: Vectors,
    conditions: Conditions,
    distractors: Distractors | None = None,
    first: int = FIRST,
) -> list[Measurement]:
    """Measure by the protocols easy, medium and hard, in this order.

    `queries`: float32 [n, D] unit vectors in the order of `truth.queries`, `gallery`: float32 [m, D] in the order of
    `truth.images`. A row of NaN is a photo without a vector: such a query is left out, and such a gallery photo counts
    neither as a positive nor as junk. `distractors` follow the gallery, and are read once. Scores are float32 inner products
    and not rounded; equal ones are ordered by row. Raises DataError for shapes that do not fit, and if nothing is left.
    """
    if (
        len(queries) != len(truth.queries)
        or len(gallery) != len(truth.images)
        or queries.shape[1:] != gallery.shape[1:]
    ):
        raise DataError(
            f"Expected vectors of {len(truth.queries)} queries and {len(truth.images)} photos in one dimension, got "
            f"{list(queries.shape)} and {list(gallery.shape)}."
        )
    is_query, is_there = _has_vector(queries), _has_vector(gallery)
    if not is_query.any() or not is_there.any():
        raise DataError(f"No {'gallery photo' if is_query.any() else 'query'} of {conditions.dataset} has a vector.")
    asked = [query for query, has_vector in zip(truth.queries, is_query, strict=True) if has_vector]
    chosen = np.ascontiguousarray(queries[is_query])
    with np.errstate(invalid="ignore"):
        ranks = JudgedRanks(chosen @ gallery.T, [judged_of(query) for query in asked], first)
    distractors = distractors or Distractors()
    unscored: list[str] = []
    count = 0
    for block in distractors.blocks:
        if block.shape[1:] != gallery.shape[1:]:
            raise DataError(f"Expected distractors in {gallery.shape[1]} dimensions, got vectors {list(block.shape)}.")
        with np.errstate(invalid="ignore"):
            scores = chosen @ block.T
        # An infinite value would stand first for some queries, and be nowhere for others.
        broken = np.flatnonzero(~np.isfinite(scores).all(axis=0))
        scores[:, broken] = np.nan
        unscored += [distractors.name(count + int(row)) for row in broken]
        ranks.add(scores)
        count += len(block)
    excluded = {reason: tuple(names) for reason, names in conditions.excluded.items() if names}
    if lost := (*distractors.unreadable, *unscored):
        excluded["distractors without a vector"] = lost
    return [
        _measurement(
            protocol, truth, asked, is_there, ranks.places(), conditions, excluded, distractors, count - len(unscored)
        )
        for protocol in PROTOCOLS
    ]


def measure_rankings(truth: GroundTruth, rankings: Sequence[ArrayLike], conditions: Conditions) -> list[Measurement]:
    """Measure rankings that were made elsewhere, such as by re-ranking, by the protocols easy, medium and hard.

    `rankings`: for each query of `truth`, rows of `truth.images`, best first, int64 [k]; k may be less than all, and what a
    ranking lacks is never found. Raises DataError for a row that does not exist or occurs twice.
    """
    if len(rankings) != len(truth.queries):
        raise DataError(f"Expected a ranking for each of {len(truth.queries)} queries, got {len(rankings)}.")
    scores = np.full((len(rankings), len(truth.images)), np.nan)
    for query, row, ranking in zip(truth.queries, scores, rankings, strict=True):
        order = np.asarray(ranking, dtype=np.int64)
        if len(np.unique(order)) != len(order) or (len(order) and not 0 <= order.min() <= order.max() < len(row)):
            raise DataError(f"Expected the ranking of {query.name} to hold rows from 0 to {len(row) - 1}, each once.")
        row[order] = -np.arange(len(order))
    places = JudgedRanks(scores, [judged_of(query) for query in truth.queries], 0).places()
    everything = np.ones(len(truth.images), dtype=np.bool_)
    excluded = {reason: tuple(names) for reason, names in conditions.excluded.items() if names}
    return [
        _measurement(protocol, truth, truth.queries, everything, places, conditions, excluded, Distractors(), 0)
        for protocol in PROTOCOLS
    ]


def _measurement(
    protocol: Protocol,
    truth: GroundTruth,
    asked: Sequence[Query],
    is_there: NDArray[np.bool_],
    places: Sequence[Places],
    conditions: Conditions,
    excluded: Mapping[str, tuple[str, ...]],
    distractors: Distractors,
    distractor_count: int,
) -> Measurement:
    def name(row: int) -> str:
        return truth.images[row] if row < len(truth.images) else distractors.name(row - len(truth.images))

    results = []
    for query, place in zip(asked, places, strict=True):
        positives, junk = positives_of(query, protocol), junk_of(query, protocol)
        results.append(_result(query, conditions.dataset, place, positives[is_there[positives]], junk, name))
    without = tuple(result.id for result in results if not result.positives)
    return Measurement(
        dataset=conditions.dataset,
        protocol=protocol,
        queries=conditions.queries,
        gallery=conditions.gallery,
        gallery_photos=int(is_there.sum()) + distractor_count,
        distractors=distractor_count,
        settings=dict(conditions.settings),
        results=tuple(results),
        excluded={**excluded, NO_POSITIVES: without} if without else dict(excluded),
    )


def _result(
    query: Query, dataset: str, places: Places, positives: Rows, junk: Rows, name: Callable[[int], str]
) -> QueryResult:
    ranks = without_junk(places.of(positives), places.of(junk))
    count = len(positives)
    right, ignored = set(positives.tolist()), set(junk.tolist())

    def relevance(row: int) -> Relevance:
        return "right" if row in right else "junk" if row in ignored else "wrong"

    return QueryResult(
        id=query.name,
        instance=query.landmark,
        set_name=dataset,
        positives=count,
        average_precision=average_precision(ranks, count) if count else None,
        precision={k: precision_at(ranks, k) for k in PRECISION_AT} if count else {},
        first=tuple(
            Found(id=name(row), score=float(score), relevance=relevance(row))
            for row, score in zip(places.first_rows.tolist(), places.first_scores.tolist(), strict=True)
        ),
    )


def _has_vector(rows: Vectors) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(rows).any(axis=1), dtype=np.bool_)
