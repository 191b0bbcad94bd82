"""The standard definition of average precision."""

from __future__ import annotations

import numpy as np
import pytest

from askew_training.evaluate.precision import average_precision_by, standard_average_precision


@pytest.mark.parametrize(
    ("ranks", "positives", "depth", "expected"),
    [
        ([0, 2, 5], 3, None, (1 + 2 / 3 + 3 / 6) / 3),
        ([5, 0, 2], 4, None, (1 + 2 / 3 + 3 / 6) / 4),
        ([], 2, None, 0),
        ([0, 2, 5], 3, 5, (1 + 2 / 3) / 3),
        ([0, 1], 4, 2, 1),
        ([2], 4, 2, 0),
    ],
)
def test_it_is_the_mean_precision_at_each_positive(
    ranks: list[int], positives: int, depth: int | None, expected: float
) -> None:
    assert standard_average_precision(np.array(ranks, np.int64), positives, depth) == pytest.approx(expected, abs=1e-12)


def test_the_definitions_differ() -> None:
    ranks = np.array([0, 2, 5])
    assert average_precision_by("standard", ranks, 3) == pytest.approx(0.722222, abs=1e-6)
    assert average_precision_by("trapezoid", ranks, 3) == pytest.approx(0.677778, abs=1e-6)
    with pytest.raises(ValueError, match="at least one positive"):
        standard_average_precision(ranks, 2)
