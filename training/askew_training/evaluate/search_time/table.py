"""The outcome of several methods as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.ranking import TOGETHER
from askew_training.evaluate.search_time.measuring import Measured
from askew_training.evaluate.statistics.differences import PairedDifference, compare_with


@dataclass(frozen=True)
class Row:
    """One method on one benchmark, or on one set of its queries.

    `set_name`: the set, or `TOGETHER`. `difference`: to plain inner products; None for these themselves.
    """

    benchmark: str
    set_name: str
    queries: int
    gallery_photos: int
    method: str
    mean_average_precision: float
    difference: PairedDifference | None
    precision_at_1: float
    milliseconds: float
    bytes_per_vector: float
    preparation_seconds: float


def rows_of(plain: Measured, measured: Sequence[Measured]) -> list[Row]:
    """Rows for each method on one benchmark, compared with `plain`: of all queries, then of each set that has some.

    The methods are one family, over which p-values are corrected, for each set anew. `measured`: `plain` is the first.
    """
    sets = [name for name in plain.measurement.sets if plain.measurement.of_set(name).counted]
    rows: list[Row] = []
    for name in (TOGETHER, *sets):
        parts = [each.measurement if name == TOGETHER else each.measurement.of_set(name) for each in measured]
        titles = [each.method.title for each in measured]
        differences = compare_with(parts[0], parts[1:], names=titles) if len(parts) > 1 else []
        rows += [
            _row(each, part, name, known)
            for each, part, known in zip(measured, parts, [None, *differences], strict=True)
        ]
    return rows


def _row(each: Measured, part: Measurement, set_name: str, known: PairedDifference | None) -> Row:
    return Row(
        benchmark=part.dataset,
        set_name=set_name,
        queries=len(part.counted),
        gallery_photos=part.gallery_photos,
        method=each.method.title,
        mean_average_precision=part.mean_average_precision,
        difference=known,
        precision_at_1=part.mean_precision(1),
        milliseconds=each.milliseconds,
        bytes_per_vector=each.bytes_per_vector,
        preparation_seconds=each.preparation_seconds,
    )


def to_json(rows: Sequence[Row], left_out: Mapping[str, str], kind: str, queries: str, gallery: str) -> str:
    """Convert to JSON text. `left_out`: by benchmark and method, why a method does not fit."""
    report = {
        "kind": kind,
        "queries": queries,
        "gallery": gallery,
        "rows": [asdict(row) for row in rows],
        "left_out": dict(left_out),
    }
    return json.dumps(report, indent=2) + "\n"


def to_table(rows: Sequence[Row], title: str) -> Table:
    """Convert to a table for a person, with a line after each set."""
    table = Table(title=title)
    for column in (
        "queries",
        "method",
        "mAP",
        "difference [95 %], verdict",
        "P@1",
        "ms/query",
        "bytes/photo",
        "prepared in",
    ):
        table.add_column(column, justify="left" if column in {"queries", "method"} else "right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        table.add_row(
            row.benchmark if row.set_name == TOGETHER else row.set_name,
            _short(row.method),
            f"{row.mean_average_precision:.3f}",
            _difference(row.difference),
            f"{row.precision_at_1:.3f}",
            f"{row.milliseconds:.2f}",
            f"{row.bytes_per_vector:,.0f}",
            f"{row.preparation_seconds:.2f} s",
            end_section=following is not None and following.set_name != row.set_name,
        )
    return table


def _short(title: str) -> str:
    """A method with one setting on each line, so that the table fits a terminal."""
    return title.replace(":", "\n  ").replace(",", "\n  ")


def _difference(known: PairedDifference | None) -> str:
    """The difference, its interval before the correction, and what is left of it after."""
    if known is None:
        return ""
    interval = "" if known.interval is None else f" [{known.interval.low:+.3f}, {known.interval.high:+.3f}]"
    verdict = "noise" if known.verdict == "inside the noise" else known.verdict
    return f"{known.difference:+.3f}{interval} {verdict}"
