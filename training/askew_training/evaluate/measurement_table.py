"""Measurements as a table for a person."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from askew_training.evaluate.measurement import Measurement


def measurement_table(measurements: Sequence[Measurement], precision_at: Sequence[int]) -> Table:
    """One row for each measurement of a pair of encoders: figures in percent, as papers print them."""
    first = measurements[0]
    table = Table(title=_title(first))
    for column in ("protocol", "queries", "gallery", first.metric, *(f"mP@{k}" for k in precision_at)):
        table.add_column(column, justify="left" if column == "protocol" else "right")
    for each in measurements:
        table.add_row(
            each.protocol,
            str(len(each.counted)),
            f"{each.gallery_photos:,}",
            _percent(each.mean_average_precision),
            *(_percent(each.mean_precision(k)) for k in precision_at),
        )
    return table


def _percent(share: float) -> str:
    """A dash if no query counts."""
    return "–" if math.isnan(share) else f"{100 * share:.2f}"


def _title(measurement: Measurement) -> str:
    marks = []
    if measurement.settings.get("crop") is False:
        marks.append("queries NOT cropped")
    if measurement.settings.get("foreign_space"):
        marks.append("TWO SPACES: the scores mean nothing")
    distractors = f" + {measurement.distractors:,} distractors" if measurement.distractors else ""
    return (
        f"{measurement.dataset}{distractors}, {measurement.kind}: queries {measurement.queries.encoder}, gallery "
        f"{measurement.gallery.encoder}" + "".join(f" ({mark})" for mark in marks)
    )
