"""The queries of one encoder in a gallery of another, for a benchmark of a manifest: what is right, and how it was ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import average_precision, precision_at
from askew_training.data.photo_sets import Photo
from askew_training.evaluate.measurement import Found, Measurement, QueryResult, Relevance, Side

PRECISION_AT = (1, 5, 10)
FIRST = 10
"""How many photos at the head of a ranking are kept."""
_RELEVANCE: dict[int, Relevance] = {1: "right", 0: "wrong", -1: "junk"}


def relevance_of(queries: Sequence[Photo], gallery: Sequence[Photo]) -> NDArray[np.int8]:
    """What each gallery photo is to each query, int8 [n, m]: 1 for the same `instance_id`, −1 for the same photo, otherwise 0."""
    numbers = {photo.instance_id: i for i, photo in enumerate(gallery) if photo.instance_id}
    shown = np.array([numbers.get(photo.instance_id, -1) for photo in gallery])
    searched = np.array([numbers.get(photo.instance_id, -2) for photo in queries])
    relevance: NDArray[np.int8] = (searched[:, None] == shown).astype(np.int8)
    rows: dict[object, list[int]] = {}
    for row, photo in enumerate(gallery):
        rows.setdefault(photo.path, []).append(row)
    for query, photo in enumerate(queries):
        relevance[query, rows.get(photo.path, [])] = -1
    return relevance


def measure_pair(
    benchmark: str,
    photos: tuple[Sequence[Photo], Sequence[Photo]],
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
    relevance: NDArray[np.int8],
    sides: tuple[Side, Side],
    settings: Mapping[str, str | float | bool],
    excluded: Mapping[str, Sequence[str]],
) -> Measurement:
    """Search every query in the whole gallery, as `askew evaluate` does: by scores rounded to 1e-6, equal ones by row.

    `photos`, `vectors` (float32 [n, D] and [m, D]), `sides`: of the queries and of the gallery. A row of NaN is a photo without
    a vector: as a query it finds nothing, in the gallery it is never found. `relevance`: int8 [n, m].
    """
    queries, gallery = photos
    alone = [query.id for query, row in zip(queries, relevance, strict=True) if not (row == 1).any()]
    left_out = {"queries without a positive": alone, **excluded} if alone else excluded
    results = []
    for row, query in enumerate(queries):
        with np.errstate(invalid="ignore"):
            scores = np.round(vectors[1] @ vectors[0][row], 6)
        found = np.flatnonzero(np.isfinite(scores) & (relevance[row] >= 0))
        ranking = found[np.argsort(-scores[found], kind="stable")]
        ranks = np.asarray(np.flatnonzero(relevance[row, ranking] == 1), dtype=np.int64)
        positives = int((relevance[row] == 1).sum())
        results.append(
            QueryResult(
                id=query.id,
                instance=query.instance_id,
                set_name=query.set_name,
                positives=positives,
                average_precision=average_precision(ranks, positives) if positives else None,
                precision={k: precision_at(ranks, k) for k in PRECISION_AT} if positives else {},
                first=tuple(
                    Found(
                        id=gallery[place].id,
                        score=float(scores[place]),
                        relevance=_RELEVANCE[int(relevance[row, place])],
                    )
                    for place in ranking[:FIRST]
                ),
            )
        )
    return Measurement(
        dataset=benchmark,
        protocol="instances",
        queries=sides[0],
        gallery=sides[1],
        gallery_photos=len(gallery),
        settings=dict(settings),
        results=tuple(results),
        excluded={reason: tuple(names) for reason, names in left_out.items()},
    )
