"""A comparison as tables for a terminal. Quality is in per cent, as the papers print it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from askew_training.evaluate.comparison.labels import settings_text
from askew_training.evaluate.comparison.record import TOGETHER, Column, Comparison, Cost, CostName, Interval

COLUMNS_AT_ONCE = 3
"""More columns of quality than this do not fit a terminal of 120 characters beside the costs."""
COST_NAMES: dict[CostName, str] = {
    "gigaflops": "GFLOPs",
    "milliseconds": "ms",
    "file_bytes": "file, MB",
    "query_bytes": "query, bytes",
}
_MARKS = {"better": "▲", "worse": "▼", "inside the noise": "≈"}


def tables_of(comparison: Comparison) -> Iterator[Table]:
    """The matrix, the differences from the baseline, and the alignment; without those that would be empty."""
    columns = list(range(len(comparison.columns)))
    for start in range(0, len(columns), COLUMNS_AT_ONCE):
        yield _matrix(comparison, columns[start : start + COLUMNS_AT_ONCE], with_costs=not start)
    if comparison.differences:
        yield _differences(comparison)
    if comparison.alignments:
        yield _alignment(comparison)


def notes_of(comparison: Comparison) -> Iterator[str]:
    """What the tables' marks and figures mean, a sentence each."""
    level = f"{100 * comparison.confidence:g} %"
    yield (
        f"Quality is in per cent, with {level} intervals: what the queries show was drawn anew {comparison.resamples:,} times."
    )
    if comparison.differences:
        baseline = comparison.rows[comparison.differences[0].baseline].label
        yield f"Compared with {baseline}: ▲ better, ▼ worse, ≈ inside the noise, after Holm's correction over the pairs."
    if comparison.frontier_cost is not None:
        yield f"* on the frontier: no other pair is as good or better for as few {COST_NAMES[comparison.frontier_cost]} or fewer."
    if any(encoder.cost.gigaflops is not None for encoder in comparison.encoders):
        yield "GFLOPs: twice the multiply-accumulates, for a square photo of each encoder's own photo size, in px beside them."
    if comparison.timed_photo is not None:
        width, height = comparison.timed_photo
        yield f"ms: median for a photo of {width} × {height} px, decoded, all encoders in turns; {comparison.machine}."
    if comparison.alignments:
        among = max(each.flips_among for each in comparison.alignments)
        yield (
            "Alignment: the cosine of both encoders' vectors of a query; the first photos that both find; the share of pairs "
            f"among the first {among} that stand in the opposite order (chance: 50 %); how probably a match scores above a "
            "non-match (chance: 50 %)."
        )


def _matrix(comparison: Comparison, columns: Sequence[int], with_costs: bool) -> Table:
    table = Table(title="quality and cost of a query" if with_costs else "quality")
    table.add_column("queries → gallery", overflow="fold")
    for column in columns:
        table.add_column(escape(_heading(comparison, comparison.columns[column])), justify="right")
    costs: list[tuple[str, Callable[[Cost], str]]] = _known_costs(comparison) if with_costs else []
    for name, _ in costs:
        table.add_column(name, justify="right")
    for place, row in enumerate(comparison.rows):
        table.add_row(
            escape(row.label),
            *(_quality(comparison, place, column) for column in columns),
            *(show(comparison.cost(place)) for _, show in costs),
        )
    return table


def _heading(comparison: Comparison, column: Column) -> str:
    lines = [column.dataset]
    if column.protocol != "instances":
        lines[0] += f", {column.protocol}"
    if column.set_name != TOGETHER:
        lines.append(column.set_name)
    alike = [each for each in comparison.columns if (each.dataset, each.protocol) == (column.dataset, column.protocol)]
    if len({(each.gallery_photos, each.distractors, each.average_precision, each.metric) for each in alike}) > 1:
        lines.append(f"{column.gallery_photos:,} photos")
    if column.settings:
        lines.append(settings_text(column.settings))
    lines.append(f"{column.queries} queries, {column.instances} shown")
    return "\n".join([*lines, column.metric])


def _quality(comparison: Comparison, row: int, column: int) -> str:
    cell = comparison.cell(row, column)
    if cell is None:
        return "–"
    is_best = any(
        each.column == column and each.cost == comparison.frontier_cost and row in each.rows
        for each in comparison.frontiers
    )
    verdict = next(
        (_MARKS[each.verdict] for each in comparison.differences if (each.row, each.column) == (row, column)), ""
    )
    interval = f" ({_range(cell.interval, signed=False)})" if cell.interval else ""
    return f"{100 * cell.value:.1f}{interval} {verdict or ' '}{'*' if is_best else ' '}"


def _known_costs(comparison: Comparison) -> list[tuple[str, Callable[[Cost], str]]]:
    """Columns of costs that at least one encoder has."""
    shown: dict[CostName, Callable[[Cost], str]] = {
        "gigaflops": lambda cost: "–" if cost.gigaflops is None else f"{cost.gigaflops:.2f} @{cost.photo_side}",
        "file_bytes": lambda cost: "–" if cost.file_bytes is None else f"{cost.file_bytes / 1e6:.1f}",
        "milliseconds": lambda cost: "–" if cost.milliseconds is None else _milliseconds(cost.milliseconds),
        "query_bytes": lambda cost: f"{cost.query_bytes:,}",
    }
    used = [comparison.cost(place) for place in range(len(comparison.rows))]
    return [
        (COST_NAMES[name], show)
        for name, show in shown.items()
        if any(getattr(each, name) is not None for each in used)
    ]


def _differences(comparison: Comparison) -> Table:
    baseline = comparison.rows[comparison.differences[0].baseline].label
    table = Table(title=escape(f"compared with {baseline}, in points"))
    for name in ("queries → gallery", "measured", "difference", "interval", "p", "corrected p", "verdict"):
        table.add_column(
            name, justify="right" if name in {"difference", "interval", "p", "corrected p"} else "left", overflow="fold"
        )
    for each in comparison.differences:
        column = comparison.columns[each.column]
        measured = [column.dataset, *([column.protocol] if column.protocol != "instances" else [])]
        table.add_row(
            escape(comparison.rows[each.row].label),
            escape(", ".join([*measured, *([column.set_name] if column.set_name != TOGETHER else [])])),
            f"{100 * each.difference:+.1f}",
            "–" if each.interval is None else _range(each.interval, signed=True),
            f"{each.p_value:.2g}",
            f"{each.corrected_p_value:.2g}",
            f"{_MARKS[each.verdict]} {each.verdict}",
        )
    return table


def _alignment(comparison: Comparison) -> Table:
    depths = sorted({k for each in comparison.alignments for k in each.overlap})
    table = Table(title="alignment with the gallery's encoder, on the queries")
    table.add_column("queries → gallery", overflow="fold")
    for name in (
        "dataset",
        "cosine",
        "lowest 5 %",
        *(f"first {k} in common" for k in depths),
        "order flips",
        "separation",
    ):
        table.add_column(name, justify="left" if name == "dataset" else "right")
    separations = {(each.row, each.dataset): each.separation for each in comparison.distributions}
    for each in comparison.alignments:
        separation = separations.get((each.row, each.dataset))
        table.add_row(
            escape(comparison.rows[each.row].label),
            escape(each.dataset),
            f"{each.mean_cosine:.3f}",
            f"{each.low_cosine:.3f}",
            *(f"{100 * each.overlap[k]:.1f} %" if k in each.overlap else "–" for k in depths),
            "–" if each.order_flips is None else f"{100 * each.order_flips:.1f} %",
            "–" if separation is None else f"{100 * separation:.1f} %",
        )
    return table


def _milliseconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _range(interval: Interval, signed: bool) -> str:
    if signed:
        return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
