"""The table of an experiment, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from askew_client.files import write_atomically
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.statistics.intervals import interval_of_mean
from askew_training.experiment.cells import CellRecord
from askew_training.experiment.claims import ClaimResult, judge_claims, mean_of_seeds
from askew_training.experiment.plan import START, Experiment, Kind
from askew_training.experiment.results import TEACHER, Measured

BySide = dict[tuple[str, Kind], dict[tuple[str, str], list[Measurement]]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Part):
    """A method on one dataset under one protocol, 0 to 1: the mean over queries and seeds, its interval of 95 % over
    instances (None if all queries show one), and the mean of each seed."""

    testing: Kind
    dataset: str
    protocol: str
    mean: float
    low: float | None
    high: float | None
    by_seed: tuple[float, ...]


class Row(_Part):
    """One method. `settings`: what tuning chose. `held_out`: mean average precision on held-out instances, by seed."""

    method: str
    settings: dict[str, float]
    held_out: tuple[float, ...]
    figures: tuple[Figure, ...]


class ResultTable(_Part):
    """All results of an experiment, and every cell that they were made from."""

    format: Literal["askew-experiment-1"] = "askew-experiment-1"
    experiment: str
    sha256: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    claims: tuple[ClaimResult, ...]
    cells: tuple[CellRecord, ...]

    def to_markdown(self) -> str:
        """Its rows, claims and grid for a person."""
        return "\n\n".join(part for part in (self._rows(), self._claims(), self._grid()) if part) + "\n"

    def _rows(self) -> str:
        columns = sorted(
            {(f.testing, f.dataset, f.protocol) for row in self.rows for f in row.figures},
            key=lambda each: (each[0], each[1], each[2]),
        )
        if not columns:
            return ""
        titles = [
            "method",
            "tuned",
            "held out",
            *(f"{t} {d}{'' if p == 'instances' else f' {p}'}" for t, d, p in columns),
        ]
        lines = [_line(titles), "|" + "---|" * len(titles)]
        for row in self.rows:
            by_column = {(f.testing, f.dataset, f.protocol): f for f in row.figures}
            cells = [_figure(by_column.get(column)) for column in columns]
            held_out = f"{100 * float(np.mean(row.held_out)):.1f}" if row.held_out else ""
            lines.append(_line([f"`{row.method}`", _settings(row.settings), held_out, *cells]))
        note = (
            f"Mean average precision in per cent: the mean over {len(self.seeds)} seeds, in brackets its interval of 95 % "
            "over instances, then the standard deviation between seeds."
        )
        return "\n".join(lines) + "\n\n" + note

    def _claims(self) -> str:
        if not self.claims:
            return ""
        lines = [_line(["claim", "on", "verdict", "evidence"]), "|---|---|---|---|"]
        for claim in self.claims:
            where = claim.dataset if claim.protocol == "instances" else f"{claim.dataset} {claim.protocol}"
            lines.append(_line([claim.sentence, where, f"**{claim.verdict}**", claim.evidence]))
        return "\n".join(lines)

    def _grid(self) -> str:
        stages = [each for each in ("tuning", "final") if any(cell.stage == each for cell in self.cells)]
        sizes = ", ".join(f"{sum(cell.stage == stage for cell in self.cells)} cells of {stage}" for stage in stages)
        hours = sum(cell.seconds for cell in self.cells) / 3600
        code = ", ".join(dict.fromkeys(cell.code for cell in self.cells))
        failed = [f"`{cell.name}`: {cell.reason}" for cell in self.cells if cell.state == "failed"]
        text = f"{sizes}; {hours:.1f} hours of training; experiment {self.experiment}, {self.sha256[:12]}; code {code}."
        return "\n".join([text, *(f"\nFailed: {each}" for each in failed)])


def write_table(
    experiment: Experiment, digest: str, out: Path, records: Sequence[CellRecord], measured: Sequence[Measured]
) -> ResultTable:
    """Collect all results, and write `table.json` and `table.md` into the experiment's folder."""
    by_side = _by_side(records, measured)
    methods = [TEACHER, *([START] if experiment.start_of else []), *dict.fromkeys(
        record.recipe for record in records if record.stage == "final"
    )]  # fmt: skip
    table = ResultTable(
        experiment=experiment.name,
        sha256=digest,
        seeds=experiment.seeds,
        rows=tuple(_row(method, records, by_side) for method in methods),
        claims=tuple(judge_claims(experiment.claims, by_side)),
        cells=tuple(records),
    )
    write_atomically(out / "table.json", table.model_dump_json(indent=1).encode() + b"\n")
    write_atomically(out / "table.md", table.to_markdown().encode())
    return table


def _by_side(records: Sequence[CellRecord], measured: Sequence[Measured]) -> BySide:
    """Measurements by method and testing, then by dataset and protocol, in the order of the seeds."""
    method_of = {record.name: START if record.stage == "start" else record.recipe for record in records}
    found: BySide = {}
    for each in measured:
        side = (method_of.get(each.cell, TEACHER), each.testing)
        place = (each.measurement.dataset, each.measurement.protocol)
        found.setdefault(side, {}).setdefault(place, []).append(each.measurement)
    return found


def _row(method: str, records: Sequence[CellRecord], by_side: BySide) -> Row:
    own = [each for each in records if each.stage == "final" and each.recipe == method]
    figures = [
        _figure_of(testing, place, measurements)
        for (name, testing), by_place in by_side.items()
        if name == method
        for place, measurements in by_place.items()
    ]
    return Row(
        method=method,
        settings=own[0].settings if own else {},
        held_out=tuple(each.score for each in own if each.score is not None),
        figures=tuple(figures),
    )


def _figure_of(testing: Kind, place: tuple[str, str], measurements: Sequence[Measurement]) -> Figure:
    together = mean_of_seeds(measurements)
    counted = together.counted
    values = np.array([each.average_precision or 0.0 for each in counted], np.float64)
    interval = interval_of_mean(values, [each.instance for each in counted]) if counted else None
    return Figure(
        testing=testing,
        dataset=place[0],
        protocol=place[1],
        mean=together.mean_average_precision,
        low=interval and interval.low,
        high=interval and interval.high,
        by_seed=tuple(each.mean_average_precision for each in measurements),
    )


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    text = f"{100 * figure.mean:.1f}"
    if figure.low is not None and figure.high is not None:
        text += f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    if len(figure.by_seed) > 1:
        text += f" ± {100 * float(np.std(figure.by_seed, ddof=1)):.1f}"
    return text


def _settings(settings: dict[str, float]) -> str:
    words = []
    if "rate" in settings:
        words.append(f"rate × {settings['rate']:.3g}")
    if "margin" in settings:
        words.append(f"margin {settings['margin']:g}")
    return ", ".join(words)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
