"""Which measurement stands behind which cell of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from askew_training.errors import DataError
from askew_training.evaluate.comparison.assembly import assemble
from askew_training.evaluate.comparison.matrix import matrix_of
from askew_training.evaluate.comparison.record import TOGETHER, Column, Comparison, Row
from askew_training.evaluate.measurement import Measurement

Placed = dict[tuple[int, int], Measurement]
"""Measurements by their row and column; the columns are those of all queries together."""


def place(comparison: Comparison, measurements: Sequence[Measurement]) -> Placed:
    """Find the cell of each measurement. Raises DataError for one that the comparison does not hold, and for two
    different ones of the same."""
    placed: Placed = {}
    for measurement in measurements:
        where = _row(comparison, measurement), _column(comparison, measurement)
        if where[0] is None or where[1] is None or comparison.cell(where[0], where[1]) is None:
            raise DataError(
                f"The comparison does not hold the measurement {_name(measurement)}. Expected the comparison that was made "
                "of these measurements; leave the measurement or the comparison out."
            )
        if placed.get((where[0], where[1]), measurement).results != measurement.results:
            raise DataError(f"There are two measurements {_name(measurement)}. Leave one of them out.")
        placed[where[0], where[1]] = measurement
    return placed


def compare(measurements: Sequence[Measurement]) -> Comparison:
    """Compare measurements with the first row that has its gallery's own encoder on both sides, or with the first row.

    Raises DataError for two different measurements of the same.
    """
    matrix = matrix_of(measurements)
    own = (row.label for row in matrix.rows if row.queries == row.gallery and _is_gallery_of_others(matrix.rows, row))
    return assemble(measurements, {}, baseline=next(own, None))[0]


def reference_row(comparison: Comparison, row: int) -> int | None:
    """The row of the gallery's own encoder on both sides, under the same settings if there is one; None without any, or
    if it is `row` itself."""
    gallery = comparison.rows[row].gallery
    own = [place for place, each in enumerate(comparison.rows) if each.queries == each.gallery == gallery]
    same = [place for place in own if comparison.rows[place].settings == comparison.rows[row].settings]
    # Without the same settings, the row with the fewest: no search-time method.
    chosen = min(same or own, key=lambda place: len(comparison.rows[place].settings), default=None)
    return None if chosen == row else chosen


def _is_gallery_of_others(rows: Sequence[Row], row: Row) -> bool:
    return any(each.gallery == row.gallery and each.queries != row.queries for each in rows)


def _row(comparison: Comparison, measurement: Measurement) -> int | None:
    sides = measurement.queries.sha256, measurement.gallery.sha256
    fitting = [
        place
        for place, row in enumerate(comparison.rows)
        if (comparison.encoders[row.queries].sha256, comparison.encoders[row.gallery].sha256) == sides
    ]
    # A row names the settings that tell it from others, which may be fewer than those of its measurements.
    same = [place for place in fitting if comparison.rows[place].settings.items() <= measurement.settings.items()]
    return max(same, key=lambda place: len(comparison.rows[place].settings), default=None)


def _column(comparison: Comparison, measurement: Measurement) -> int | None:
    wanted = _facts(measurement)
    columns = enumerate(comparison.columns)
    return next((place for place, each in columns if each.set_name == TOGETHER and _facts(each) == wanted), None)


def _facts(measured: Measurement | Column) -> tuple[str, str, str, str, int, int]:
    """What tells one column from another, apart from its set of queries."""
    return (
        measured.dataset,
        measured.protocol,
        measured.metric,
        measured.average_precision,
        measured.gallery_photos,
        measured.distractors,
    )


def _name(measurement: Measurement) -> str:
    return f"of {measurement.queries.encoder} on {measurement.gallery.encoder}, {measurement.dataset} {measurement.protocol}"
