"""The margin at which a chosen share of the negatives is pushed away.

A margin depends on the space: where unlike photos lie 1.3 apart, a margin of 0.7 reaches no negative at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from askew_training.errors import DataError
from askew_training.losses.base import MarginTable

WIDEST = 4.0
"""No margin is larger: the squared distance of opposite vectors."""
STEPS = 40


def active_share(
    table: MarginTable,
    margin: float,
    to_positives: NDArray[np.float32],
    to_negatives: NDArray[np.float32],
    is_negative: NDArray[np.bool_],
) -> float:
    """The share of negatives, bool [Q, K], that a loss with this margin pushes away, 0 to 1.

    `to_positives` [Q], `to_negatives` [Q, K]: similarities to the query.
    """
    loss = table.with_margin(margin).build(_no_vectors, 0)
    above = loss.active_above(to_positives)
    assert above is not None
    return float((to_negatives > above)[is_negative].mean())


def margin_of(
    table: MarginTable,
    share: float,
    to_positives: NDArray[np.float32],
    to_negatives: NDArray[np.float32],
    is_negative: NDArray[np.bool_],
) -> float:
    """By bisection: a wider margin has more active negatives, or fewer for margins that are similarities.

    Four digits. Raises DataError if no margin has this share.
    """

    def share_at(margin: float) -> float:
        return active_share(table, margin, to_positives, to_negatives, is_negative)

    low, high = (-1.0, 1.0) if getattr(table, "form", "euclidean") == "similarity" else (0.0, WIDEST)
    grows = share_at(high) > share_at(low)
    most, least = max(share_at(low), share_at(high)), min(share_at(low), share_at(high))
    if not least <= share <= most:
        raise DataError(
            f"No margin of {table.name} has {100 * share:.0f} % of the mined negatives active: from {low:g} to {high:g} they are "  # type: ignore[attr-defined]
            f"{100 * least:.0f} to {100 * most:.0f} %. Choose another share."
        )
    for _ in range(STEPS):
        middle = (low + high) / 2
        if (share_at(middle) < share) == grows:
            low = middle
        else:
            high = middle
    return float(f"{high:.4g}")


def _no_vectors() -> NDArray[np.float32]:
    raise AssertionError("a loss with a margin learns nothing from the teacher's vectors")
