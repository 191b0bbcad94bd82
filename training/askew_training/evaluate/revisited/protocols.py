"""The protocols easy, medium and hard: which photos are positives and which are junk."""

from __future__ import annotations

from typing import Literal

import numpy as np

from askew_training.evaluate.revisited.ground_truth import Query, Rows

Protocol = Literal["easy", "medium", "hard"]
PROTOCOLS: tuple[Protocol, ...] = ("easy", "medium", "hard")

_POSITIVES: dict[Protocol, tuple[str, ...]] = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}
_JUNK: dict[Protocol, tuple[str, ...]] = {"easy": ("junk", "hard"), "medium": ("junk",), "hard": ("junk", "easy")}


def positives_of(query: Query, protocol: Protocol) -> Rows:
    """Rows of the gallery that are right answers, int64 [n]."""
    return np.concatenate([getattr(query, grade) for grade in _POSITIVES[protocol]])


def junk_of(query: Query, protocol: Protocol) -> Rows:
    """Rows of the gallery that are removed from the ranking, int64 [n]."""
    return np.concatenate([getattr(query, grade) for grade in _JUNK[protocol]])


def judged_of(query: Query) -> Rows:
    """Rows of the gallery that some protocol judges, int64 [n]."""
    return np.concatenate([query.easy, query.hard, query.junk])
