"""The outcome of several methods as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from askew_training.evaluate.search_time.differences import Difference, difference
from askew_training.evaluate.search_time.measuring import Measured


@dataclass(frozen=True)
class Row:
    """One method on one benchmark. `difference`: to plain inner products; None for these themselves."""

    benchmark: str
    gallery_photos: int
    method: str
    mean_average_precision: float
    difference: Difference | None
    precision_at_1: float
    milliseconds: float
    bytes_per_vector: float
    preparation_seconds: float
    by_set: dict[str, float]


def rows_of(plain: Measured, measured: Sequence[Measured]) -> list[Row]:
    """A row for each method on one benchmark, compared with `plain`."""
    return [
        Row(
            each.measurement.dataset,
            each.measurement.gallery_photos,
            each.method.title,
            each.measurement.mean_average_precision,
            None if each is plain else difference(each.measurement, plain.measurement),
            each.measurement.mean_precision(1),
            each.milliseconds,
            each.bytes_per_vector,
            each.preparation_seconds,
            {name: each.measurement.of_set(name).mean_average_precision for name in each.measurement.sets},
        )
        for each in measured
    ]


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
    """Convert to a table for a person."""
    table = Table(title=title)
    for column in ("benchmark", "method", "mAP", "difference [95 %]", "P@1", "ms/query", "bytes/photo", "prepared in"):
        table.add_column(column, justify="left" if column in {"benchmark", "method"} else "right")
    for row in rows:
        table.add_row(
            f"{row.benchmark}, {row.gallery_photos}",
            row.method,
            f"{row.mean_average_precision:.3f}",
            _difference(row.difference),
            f"{row.precision_at_1:.3f}",
            f"{row.milliseconds:.2f}",
            f"{row.bytes_per_vector:,.0f}",
            f"{row.preparation_seconds:.2f} s",
        )
    return table


def _difference(known: Difference | None) -> str:
    if known is None:
        return ""
    text = f"{known.mean:+.3f} [{known.low:+.3f}, {known.high:+.3f}]"
    return f"{text} noise" if known.is_noise else text
