"""Scores from vectors and instances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_training.errors import DataError
from askew_training.evaluate.ranking import TOGETHER, rank_scores


def brute_force(query, gallery, instance, instances, own):
    """Average precision computed from its definition, over a list of hits."""
    hits = sorted(
        (-round(float(vector @ query), 6), row)
        for row, vector in enumerate(gallery)
        if row != own and not np.isnan(vector @ query)
    )
    right = [bool(instance) and instances[row] == instance for _, row in hits]
    positives = sum(bool(instance) and other == instance for row, other in enumerate(instances) if row != own)
    total = 0.0
    for place, is_right in enumerate(right):
        if is_right:
            before = sum(right[:place])
            total += ((before / place if place else 1.0) + (before + 1) / (place + 1)) / 2
    return total / positives if positives else None


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), queries=st.integers(1, 6), others=st.integers(1, 12), kinds=st.integers(1, 4),
    at_once=st.integers(1, 40),
)  # fmt: skip
def test_scores_equal_their_definition(seed: int, queries: int, others: int, kinds: int, at_once: int) -> None:
    random = np.random.default_rng(seed)
    # Few distinct values, so that there are ties; some photos without a vector.
    vectors = random.integers(-1, 2, (queries + others, 3)).astype(np.float32) / np.float32(2)
    vectors[random.random(len(vectors)) < 0.1] = np.nan
    instances = [str(kind or "") for kind in random.integers(0, kinds + 1, len(vectors))]
    sets = [str(kind) for kind in random.integers(0, 2, queries)]
    itself = [row if random.random() < 0.7 else -1 for row in range(queries)]
    expected = [brute_force(vectors[row], vectors, instances[row], instances, itself[row]) for row in range(queries)]
    arguments = (vectors[:queries], vectors, instances[:queries], instances, sets, itself, at_once)
    if all(value is None for value in expected):
        with pytest.raises(DataError, match="No query has a match"):
            rank_scores(*arguments)
        return
    scores = rank_scores(*arguments)
    for name in {TOGETHER, *sets}:
        own = [
            value for value, each in zip(expected, sets, strict=True) if name in (each, TOGETHER) and value is not None
        ]
        assert (name in scores) == bool(own)
        if own:
            assert scores[name].mean_average_precision == pytest.approx(np.mean(own))
            assert scores[name].queries == len(own)


def test_arrays_that_do_not_fit_are_refused() -> None:
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(DataError, match="a row for each of 3 queries"):
        rank_scores(vectors, vectors, ["a"] * 3, ["a"] * 3, ["s"] * 3, [0])
    with pytest.raises(DataError, match="one dimension"):
        rank_scores(vectors, vectors[:, :2], ["a"] * 3, ["a"] * 3, ["s"] * 3)
    with pytest.raises(DataError, match="got 2 instances"):
        rank_scores(vectors, vectors, ["a"] * 3, ["a"] * 2, ["s"] * 3)
