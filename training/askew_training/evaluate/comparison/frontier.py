"""The Pareto frontier of quality and cost."""

from __future__ import annotations

from collections.abc import Sequence


def frontier_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """List the points that no other point beats, the cheapest first, then in their order.

    `points`: (cost, quality). A point is beaten by one that costs no more and is no worse, and is better in one of both; equal
    points do not beat each other.
    """
    best = float("-inf")
    kept: list[int] = []
    # By cost; of those that cost the same the best first, so that the others are beaten.
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    for i in order:
        is_equal = bool(kept) and points[kept[-1]] == points[i]
        if points[i][1] > best or is_equal:
            kept.append(i)
            best = points[i][1]
    return kept
