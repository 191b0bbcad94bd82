"""Inner products, nearest neighbours and unit length, as the methods share them."""

from __future__ import annotations

import numpy as np

from askew_training.evaluate.search_time.method import Rows, Scores, Vectors

DECIMALS = 6
"""A server orders hits by scores of this precision, so that batches and single queries give the same answer."""


def similarity(queries: Vectors, gallery: Vectors) -> Scores:
    """Inner products of float32 [n, D] and [m, D], rounded as a server does: float32 [n, m]."""
    return np.asarray(np.round(queries @ gallery.T, DECIMALS), np.float32)


def without_own(scores: Scores, own: Rows) -> Scores:
    """A copy in which none of a query's own rows can be a neighbour: its score is -inf. `own`: int64 [n, k]."""
    hidden = scores.copy()
    queries, places = np.nonzero(own >= 0)
    hidden[queries, own[queries, places]] = -np.inf
    return hidden


def nearest(scores: Scores, count: int) -> Rows:
    """The columns of the `count` highest scores of each row, best first, equal scores by column: int64 [n, count]."""
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, :count], np.int64)


def first_hits(scores: Scores, count: int) -> Rows:
    """The first `count` hits of one query, float32 [m] scores: those with -inf, its own photo, are none. int64 [k]."""
    return np.array([row for row in nearest(scores[None], count)[0] if scores[row] > -np.inf], np.int64)


def unit(vectors: Vectors) -> Vectors:
    """Scale rows to unit length; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
