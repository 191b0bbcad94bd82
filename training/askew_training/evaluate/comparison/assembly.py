"""From measurements and costs to a comparison: intervals, differences from the baseline, frontiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from askew_training.evaluate.comparison.frontier import frontier_of
from askew_training.evaluate.comparison.labels import encoder_labels
from askew_training.evaluate.comparison.matrix import Matrix, matrix_of
from askew_training.evaluate.comparison.record import (
    Cell,
    Comparison,
    Cost,
    CostName,
    Difference,
    EncoderEntry,
    Frontier,
    Interval,
)
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.statistics.differences import compare_with
from askew_training.evaluate.statistics.intervals import RESAMPLES, interval_of_mean
from askew_training.evaluate.statistics.intervals import Interval as Computed

PREFERRED: tuple[CostName, ...] = ("gigaflops", "milliseconds", "file_bytes")
"""The costs that tables may mark the frontier by if nobody chooses, the first that is known of all rows."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are computed: their confidence, 0 to 1, the number of draws, and their seed."""

    confidence: float = 0.95
    resamples: int = RESAMPLES
    seed: int = 0


def assemble(
    measurements: Sequence[Measurement],
    costs: Mapping[str, Cost],
    *,
    baseline: str | None = None,
    frontier_cost: CostName | None = None,
    resampling: Resampling | None = None,
) -> tuple[Comparison, Matrix]:
    """Compare measurements: the comparison, and the matrix that it describes.

    `costs`: by the SHA-256 of an encoder's file; of an encoder without one only the query's bytes are known. `baseline`: the
    label of a row or of its query encoder; default: the first row. `frontier_cost`: see `Comparison`. Raises DataError as
    `matrix_of` does, and for an unknown baseline.
    """
    how = resampling or Resampling()
    matrix = matrix_of(measurements)
    encoders = tuple(
        EncoderEntry(
            label=label,
            encoder=side.encoder,
            sha256=side.sha256,
            space_id=side.space_id,
            dim=side.dim,
            photo_size=side.photo_size,
            scales=side.scales,
            recipe=side.recipe,
            cost=costs.get(side.sha256) or Cost(query_bytes=2 * side.dim, photo_side=side.photo_size),
        )
        for side, label in zip(matrix.encoders, encoder_labels(matrix.encoders), strict=True)
    )
    cells = tuple(_cell(row, column, each, how) for (row, column), each in sorted(matrix.measured.items()))
    cost_of_row = [encoders[row.queries].cost for row in matrix.rows]
    comparison = Comparison(
        confidence=how.confidence,
        resamples=how.resamples,
        seed=how.seed,
        encoders=encoders,
        rows=tuple(matrix.rows),
        columns=tuple(matrix.columns),
        cells=cells,
        differences=tuple(_differences(matrix, 0 if baseline is None else matrix.row_of(baseline), how)),
        frontiers=tuple(_frontiers(matrix, cells, cost_of_row)),
        frontier_cost=frontier_cost or _preferred(cost_of_row),
    )
    return comparison, matrix


def _cell(row: int, column: int, measurement: Measurement, how: Resampling) -> Cell:
    counted = measurement.counted
    values = np.array([each.average_precision for each in counted], dtype=np.float64)
    interval = interval_of_mean(
        values,
        [each.instance for each in counted],
        confidence=how.confidence,
        resamples=how.resamples,
        seed=how.seed,
    )
    depths = sorted({k for each in counted for k in each.precision})
    return Cell(
        row=row,
        column=column,
        value=min(1.0, measurement.mean_average_precision),
        interval=_recorded(interval),
        queries=len(counted),
        precision={k: min(1.0, measurement.mean_precision(k)) for k in depths},
    )


def _differences(matrix: Matrix, baseline: int, how: Resampling) -> list[Difference]:
    found = []
    for column in range(len(matrix.columns)):
        others = [row for row in range(len(matrix.rows)) if row != baseline and (row, column) in matrix.measured]
        if (baseline, column) not in matrix.measured or not others:
            continue
        family = compare_with(
            matrix.measured[baseline, column],
            [matrix.measured[row, column] for row in others],
            confidence=how.confidence,
            resamples=how.resamples,
            seed=how.seed,
            names=[matrix.rows[row].label for row in (baseline, *others)],
        )
        found += [
            Difference(
                row=row,
                baseline=baseline,
                column=column,
                difference=each.difference,
                interval=_recorded(each.interval),
                corrected_interval=_recorded(each.corrected_interval),
                p_value=each.p_value,
                corrected_p_value=each.corrected_p_value,
                queries=each.queries,
                instances=each.instances,
                verdict=each.verdict,
                sentence=each.sentence,
            )
            for row, each in zip(others, family, strict=True)
        ]
    return found


def _frontiers(matrix: Matrix, cells: Sequence[Cell], costs: Sequence[Cost]) -> list[Frontier]:
    found = []
    for column in range(len(matrix.columns)):
        for name in get_args(CostName):
            known = [
                (cell.row, getattr(costs[cell.row], name), cell.value)
                for cell in cells
                if cell.column == column and getattr(costs[cell.row], name) is not None
            ]
            rows = tuple(known[i][0] for i in frontier_of([(cost, value) for _, cost, value in known]))
            if rows:
                found.append(Frontier(column=column, cost=name, rows=rows))
    return found


def _preferred(costs: Sequence[Cost]) -> CostName | None:
    return next((name for name in PREFERRED if all(getattr(cost, name) is not None for cost in costs)), None)


def _recorded(interval: Computed | None) -> Interval | None:
    return None if interval is None else Interval(low=interval.low, high=interval.high)
