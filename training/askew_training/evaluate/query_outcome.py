"""How one query of a manifest did, from the places of its positives and junk, and the means over queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import RECALL_AT, Scores, precision_at, recall_at
from askew_training.data.judgements import Definition
from askew_training.data.photo_sets import Photo
from askew_training.evaluate.judged_ranks import Places, without_junk
from askew_training.evaluate.measurement import Found, QueryResult, Relevance
from askew_training.evaluate.precision import average_precision_by
from askew_training.evaluate.ranking import TOGETHER

PRECISION_AT = (1, 5, 10)
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """Rows of the gallery, int64 [n] each: right answers to a query, junk, and the query's own photo."""

    positives: Rows
    junk: Rows
    own: Rows

    @property
    def rows(self) -> Rows:
        """All rows whose places are wanted."""
        return np.concatenate([self.positives, self.junk])


@dataclass(frozen=True)
class QueryOutcome:
    """`ranks`: int64 [n], places from 0 of the positives that were found, junk not counted. `definition`: of the AP."""

    result: QueryResult
    ranks: Rows
    definition: Definition


def outcome_of(query: Photo, judged: Judged, places: Places, gallery: Sequence[str]) -> QueryOutcome:
    """Judge the ranking of one query. `gallery`: the ids of its photos, by row."""
    positives = np.setdiff1d(judged.positives, judged.own)
    ranks = without_junk(places.of(positives), places.of(judged.junk))
    count = len(positives)
    right, ignored = set(positives.tolist()), set(judged.junk.tolist())

    def relevance(row: int) -> Relevance:
        return "right" if row in right else "junk" if row in ignored else "wrong"

    first = tuple(
        Found(id=gallery[row], score=float(score), relevance=relevance(row))
        for row, score in zip(places.first_rows.tolist(), places.first_scores.tolist(), strict=True)
    )
    result = QueryResult(
        id=query.id,
        instance=query.instance_id,
        set_name=query.set_name,
        positives=count,
        average_precision=average_precision_by(query.average_precision, ranks, count) if count else None,
        precision={k: precision_at(ranks, k) for k in PRECISION_AT} if count else {},
        first=first,
    )
    return QueryOutcome(result, ranks, query.average_precision)


def scores_by_set(outcomes: Sequence[QueryOutcome]) -> dict[str, Scores]:
    """The means over all queries that have positives (`TOGETHER`), and over those of each set; empty if there are none."""
    counted = [each for each in outcomes if each.result.average_precision is not None]
    if not counted:
        return {}
    by_set = {TOGETHER: _means(counted)}
    for name in dict.fromkeys(each.result.set_name for each in counted):
        by_set[name] = _means([each for each in counted if each.result.set_name == name])
    return by_set


def _means(outcomes: Sequence[QueryOutcome]) -> Scores:
    ranks = [each.ranks for each in outcomes]
    return Scores(
        queries=len(outcomes),
        mean_average_precision=float(np.mean([each.result.average_precision or 0.0 for each in outcomes])),
        precision_at_1=float(np.mean([precision_at(each, 1) for each in ranks])),
        recall={k: recall_at(ranks, k) for k in RECALL_AT},
    )
