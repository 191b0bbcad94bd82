"""Which figures of a table are printed in bold: the best, and all that cannot be told from it."""

from __future__ import annotations

from askew_training.evaluate.comparison.record import TOGETHER, Comparison, Interval
from askew_training.evaluate.reporting.placing import Placed
from askew_training.evaluate.statistics.differences import compare_with


def best_places(comparison: Comparison, placed: Placed) -> frozenset[tuple[int, int]]:
    """The (row, column) places of the best in each column of all queries, and of rows inside its noise.

    Rows are compared with the best query by query, corrected by Holm. A row without a measurement is taken for equal if
    the two intervals overlap. A column with one row has no best.
    """
    places: set[tuple[int, int]] = set()
    for column, described in enumerate(comparison.columns):
        cells = {each.row: each for each in comparison.cells if each.column == column}
        if described.set_name != TOGETHER or len(cells) < 2:
            continue
        best = max(cells.values(), key=lambda cell: cell.value)
        others = [row for row in cells if row != best.row]
        measured = [row for row in others if (row, column) in placed and (best.row, column) in placed]
        equal = {row for row in others if row not in measured and _overlap(cells[row].interval, best.interval)}
        if measured:
            differences = compare_with(
                placed[best.row, column],
                [placed[row, column] for row in measured],
                confidence=comparison.confidence,
                resamples=comparison.resamples,
                seed=comparison.seed,
            )
            equal |= {
                row for row, each in zip(measured, differences, strict=True) if each.verdict == "inside the noise"
            }
        places |= {(row, column) for row in (best.row, *equal)}
    return frozenset(places)


def _overlap(one: Interval | None, other: Interval | None) -> bool:
    if one is None or other is None:
        # Without an interval nothing tells them apart.
        return True
    return one.low <= other.high and other.low <= one.high
