from __future__ import annotations

from askew_training.evaluate.comparison.frontier import frontier_of
from tests.support.training_helpers import EXAMPLES


def test_a_point_that_costs_more_and_is_no_better_is_beaten() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.5), (2.0, 0.7), (3.0, 0.8), (4.0, 0.9)]
    assert frontier_of(points) == [1, 3, 0]


def test_equal_points_do_not_beat_each_other() -> None:
    assert frontier_of([(1.0, 0.5), (1.0, 0.5), (2.0, 0.5)]) == [0, 1]
    assert frontier_of([]) == []


def test_the_frontier_is_what_no_other_point_beats() -> None:
    import numpy as np

    for seed in range(EXAMPLES):
        points = [(float(c), float(q)) for c, q in np.random.default_rng(seed).integers(0, 6, (12, 2))]
        kept = {
            i
            for i, (cost, quality) in enumerate(points)
            if not any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)
        }
        assert set(frontier_of(points)) == kept
