"""A comparison made of measurements alone, for a report that is given none: quality and differences, no cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from askew_training.errors import DataError
from askew_training.evaluate.comparison.record import (
    TOGETHER,
    Cell,
    Column,
    Comparison,
    Cost,
    Difference,
    EncoderEntry,
    Interval,
    Row,
)
from askew_training.evaluate.measurement import Measurement, QueryResult
from askew_training.evaluate.reporting.placing import Placed, place, reference_row
from askew_training.evaluate.statistics import intervals
from askew_training.evaluate.statistics.differences import compare_with
from askew_training.evaluate.statistics.intervals import RESAMPLES, interval_of_mean

_CONFIDENCE = 0.95
_SEED = 0
_RowKey = tuple[str, str, tuple[tuple[str, str | float | bool], ...]]
_ColumnKey = tuple[str, str, str, int]


def assemble(measurements: Sequence[Measurement]) -> Comparison:
    """Arrange measurements in rows and columns, and compare each with its gallery's own encoder where that was measured.

    Raises DataError without any, or for two measurements of the same.
    """
    if not measurements:
        raise DataError("Expected at least one measurement.")
    encoders = _encoders(measurements)
    varying = _varying_settings(measurements)
    rows: dict[_RowKey, Row] = {}
    columns: dict[tuple[_ColumnKey, str], Column] = {}
    cells: list[Cell] = []
    for each in measurements:
        row_key = _row_key(each, varying)
        rows.setdefault(row_key, _row(each, encoders, row_key))
        sets = each.sets if len(each.sets) > 1 else ()
        for name in (TOGETHER, *sets):
            part = each if name == TOGETHER else each.of_set(name)
            if not part.counted:
                continue
            column_key = (_column_key(each), name)
            columns.setdefault(column_key, _column(part, name))
            cells.append(_cell(part, list(rows).index(row_key), list(columns).index(column_key)))
    comparison = Comparison(
        confidence=_CONFIDENCE,
        resamples=RESAMPLES,
        seed=_SEED,
        encoders=tuple(encoders.values()),
        rows=tuple(rows.values()),
        columns=tuple(columns.values()),
        cells=tuple(cells),
    )
    placed = place(comparison, [each for each in measurements if each.counted])
    return comparison.model_copy(update={"differences": tuple(_differences(comparison, placed))})


def _encoders(measurements: Sequence[Measurement]) -> dict[str, EncoderEntry]:
    """By the digest of the file. Two files of one name are told apart by their digests."""
    sides = {side.sha256: side for each in measurements for side in (each.gallery, each.queries)}
    names = [side.encoder for side in sides.values()]
    return {
        digest: EncoderEntry(
            label=side.encoder if names.count(side.encoder) == 1 else f"{side.encoder} ({digest[:8]})",
            cost=Cost(query_bytes=2 * side.dim, photo_side=side.photo_size),
            **side.model_dump(),
        )
        for digest, side in sides.items()
    }


def _varying_settings(measurements: Sequence[Measurement]) -> set[str]:
    """The settings that tell rows apart: those that differ within one column."""
    found: dict[_ColumnKey, list[Measurement]] = {}
    for each in measurements:
        found.setdefault(_column_key(each), []).append(each)
    return {
        name
        for of_column in found.values()
        for name in {name for each in of_column for name in each.settings}
        if len({each.settings.get(name) for each in of_column}) > 1
    }


def _row_key(measurement: Measurement, varying: set[str]) -> _RowKey:
    settings = tuple((name, value) for name, value in sorted(measurement.settings.items()) if name in varying)
    return measurement.queries.sha256, measurement.gallery.sha256, settings


def _row(measurement: Measurement, encoders: dict[str, EncoderEntry], key: _RowKey) -> Row:
    label = f"{encoders[key[0]].label} on {encoders[key[1]].label}"
    marks = ", ".join(f"{name} = {value}" for name, value in key[2])
    places = list(encoders)
    return Row(
        label=f"{label}, {marks}" if marks else label,
        queries=places.index(key[0]),
        gallery=places.index(key[1]),
        kind=measurement.kind,
        settings=dict(key[2]),
    )


def _column_key(measurement: Measurement) -> _ColumnKey:
    return measurement.dataset, measurement.protocol, measurement.metric, measurement.distractors


def _column(measurement: Measurement, set_name: str) -> Column:
    return Column(
        dataset=measurement.dataset,
        protocol=measurement.protocol,
        set_name=set_name,
        metric=measurement.metric,
        queries=len(measurement.counted),
        instances=len({each.instance for each in measurement.counted}),
        gallery_photos=measurement.gallery_photos,
        distractors=measurement.distractors,
    )


def _cell(measurement: Measurement, row: int, column: int) -> Cell:
    counted: tuple[QueryResult, ...] = measurement.counted
    values = np.array([each.average_precision or 0.0 for each in counted], np.float64)
    interval = interval_of_mean(values, [each.instance for each in counted], confidence=_CONFIDENCE, seed=_SEED)
    depths = sorted({k for each in counted for k in each.precision})
    return Cell(
        row=row,
        column=column,
        value=measurement.mean_average_precision,
        interval=_recorded(interval),
        queries=len(counted),
        precision={k: measurement.mean_precision(k) for k in depths},
    )


def _differences(comparison: Comparison, placed: Placed) -> list[Difference]:
    """Of each row and the row of its gallery's own encoder, column by column; the rows of a column are one family."""
    found = []
    for column in sorted({column for _, column in placed}):
        families: dict[int, list[int]] = {}
        for row in sorted(row for row, at in placed if at == column):
            baseline = reference_row(comparison, row)
            if baseline is not None and (baseline, column) in placed:
                families.setdefault(baseline, []).append(row)
        for baseline, rows in families.items():
            compared = compare_with(
                placed[baseline, column],
                [placed[row, column] for row in rows],
                confidence=_CONFIDENCE,
                seed=_SEED,
                names=[comparison.rows[row].label for row in (baseline, *rows)],
            )
            for row, each in zip(rows, compared, strict=True):
                intervals_ = {
                    "interval": _recorded(each.interval),
                    "corrected_interval": _recorded(each.corrected_interval),
                }
                facts = {**asdict(each), **intervals_}
                found.append(Difference(row=row, baseline=baseline, column=column, **facts))
    return found


def _recorded(interval: intervals.Interval | None) -> Interval | None:
    return None if interval is None else Interval(low=interval.low, high=interval.high)
