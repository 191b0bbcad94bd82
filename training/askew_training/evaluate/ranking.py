"""Scores of queries on a gallery, computed only from their vectors and from what they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from askew_client.metrics import Scores, score
from askew_training.errors import DataError

TOGETHER = "together"
"""The name for the scores over all sets."""
VALUES_AT_ONCE = 1 << 24
"""Scores in memory at a time: 64 MB."""


def rank_scores(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    query_instances: Sequence[str],
    gallery_instances: Sequence[str],
    query_sets: Sequence[str],
    itself: Sequence[int] | None = None,
    values_at_once: int = VALUES_AT_ONCE,
) -> dict[str, Scores]:
    """Search every query in the whole gallery. Returns the scores over all queries (`TOGETHER`), and of each set.

    `queries`: float32 [n, D] unit vectors, `gallery`: float32 [m, D]. A row of NaN is a photo without a vector: as a
    query it finds nothing, in the gallery it is never found. `query_instances` [n] and `gallery_instances` [m]: what
    the photos show; a gallery photo is a positive if it shows the same, and one with "" is a distractor. `query_sets`
    [n]: the set of each query. `itself` [n]: the row of the query's own photo in the gallery, which is left out of its
    ranking; -1 if the gallery does not hold it. `values_at_once`: scores in memory at a time.

    Gallery photos are ordered by score rounded to 1e-6, as a server orders hits, then by row. Queries without
    positives are left out, and so are sets without any other query. Average precision as in askew_client.metrics.
    Raises DataError for lengths that do not fit, or if no query has a positive.
    """
    if not (len(queries) == len(query_instances) == len(query_sets) == len(queries if itself is None else itself)):
        raise DataError(
            f"Expected an instance, a set and a row for each of {len(queries)} queries, got {len(query_instances)} "
            f"instances, {len(query_sets)} sets and {'no' if itself is None else len(itself)} rows."
        )
    if len(gallery) != len(gallery_instances) or queries.shape[1:] != gallery.shape[1:]:
        raise DataError(
            f"Expected an instance for each gallery photo, and vectors of one dimension, got {len(gallery_instances)} "
            f"instances, gallery {list(gallery.shape)} and queries {list(queries.shape)}."
        )
    ranks: list[NDArray[np.int64]] = []
    positives: list[int] = []
    numbers = {instance: i for i, instance in enumerate(dict.fromkeys(gallery_instances))}
    gallery_numbers = np.array([numbers[instance] for instance in gallery_instances], dtype=np.int64)
    at_once = max(1, values_at_once // max(1, len(gallery)))
    for start in range(0, len(queries), at_once):
        with np.errstate(invalid="ignore"):
            scores = np.round(queries[start : start + at_once] @ gallery.T, 6)
        for i, row in enumerate(scores, start=start):
            own = -1 if itself is None else itself[i]
            matches = _matches(numbers.get(query_instances[i]) if query_instances[i] else None, gallery_numbers, own)
            ranks.append(_ranks_of(matches, row, own))
            positives.append(int(matches.sum()))
    if not any(positives):
        raise DataError("No query has a match in the gallery. Expected gallery photos with the queries' instance_id.")
    by_set = {TOGETHER: score(ranks, positives)}
    for name in dict.fromkeys(query_sets):
        chosen = [i for i, set_name in enumerate(query_sets) if set_name == name and positives[i]]
        if chosen:
            by_set[name] = score([ranks[i] for i in chosen], [positives[i] for i in chosen])
    return by_set


def _matches(instance: int | None, gallery: NDArray[np.int64], own: int) -> NDArray[np.bool_]:
    """Which gallery photos, int64 [m] of instances, are positives: bool [m]."""
    matches = np.zeros(len(gallery), dtype=np.bool_) if instance is None else gallery == instance
    if own >= 0:
        matches[own] = False
    return matches


def _ranks_of(matches: NDArray[np.bool_], scores: NDArray[np.float32], own: int) -> NDArray[np.int64]:
    """The ranks, from 0, of the positives that are found."""
    found = np.isfinite(scores)
    if own >= 0:
        found[own] = False
    rows = np.flatnonzero(found)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    return np.asarray(np.flatnonzero(matches[order]), dtype=np.int64)
