"""Ranks by counting, compared with the ranking itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_training.evaluate.judged_ranks import JudgedRanks, without_junk
from tests.support.training_helpers import EXAMPLES


@settings(deadline=None, max_examples=4 * EXAMPLES)
@given(
    seed=st.integers(0, 2**32 - 1), judged_photos=st.integers(1, 25), others=st.integers(0, 25), kinds=st.integers(1, 8),
    at_once=st.integers(1, 9), first=st.integers(0, 12),
)  # fmt: skip
def test_ranks_are_those_of_a_stable_argsort(
    seed: int, judged_photos: int, others: int, kinds: int, at_once: int, first: int
) -> None:
    random = np.random.default_rng(seed)
    # Few distinct scores, so that there are ties, also between judged photos and distractors; some without a score.
    scores = random.integers(-kinds, kinds + 1, (3, judged_photos + others)).astype(np.float32)
    scores[random.random(scores.shape) < 0.15] = np.nan
    judged = [random.choice(judged_photos, random.integers(0, judged_photos + 1), replace=False) for _ in scores]
    ranks = JudgedRanks(scores[:, :judged_photos], judged, first)
    for start in range(judged_photos, scores.shape[1], at_once):
        ranks.add(scores[:, start : start + at_once])
    assert ranks.photos == scores.shape[1]
    for row, rows, places in zip(scores, judged, ranks.places(), strict=True):
        found = np.flatnonzero(~np.isnan(row))
        order = found[np.argsort(-row[found], kind="stable")].tolist()
        expected = [order.index(each) if each in order else -1 for each in sorted(rows)]
        assert places.rows.tolist() == sorted(rows)
        assert places.ranks.tolist() == expected
        assert places.of(rows).tolist() == sorted(rank for rank in expected if rank >= 0)
        assert places.first_rows.tolist() == order[:first]
        assert places.first_scores.tolist() == row[order[:first]].tolist()


def test_junk_before_a_positive_is_not_counted() -> None:
    assert without_junk(np.array([0, 3, 9]), np.array([8, 1, 2, 10])).tolist() == [0, 1, 6]
    assert without_junk(np.array([4]), np.array([], dtype=np.int64)).tolist() == [4]
