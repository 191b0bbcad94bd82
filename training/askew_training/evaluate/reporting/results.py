"""The tables of a comparison: quality with intervals beside cost, differences, sets, and precision at k."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from askew_training.evaluate.comparison.record import TOGETHER, Cell, Column, Comparison, Cost, Difference
from askew_training.evaluate.reporting.published import Published
from askew_training.evaluate.reporting.table import Line, Table, Value, grouped
from askew_training.evaluate.reporting.wording import counted, percent, percent_range, short_number, signed_percent

_COSTS: Mapping[str, Callable[[Cost], float | None]] = {
    "GFLOPs": lambda cost: cost.paper_gigaflops,
    "GFLOPs at its size": lambda cost: cost.gigaflops,
    "MB": lambda cost: None if cost.file_bytes is None else cost.file_bytes / 1e6,
    "ms": lambda cost: cost.milliseconds,
    "query bytes": lambda cost: float(cost.query_bytes),
}
_LABELS = ("", "queries → gallery", "kind")


def results_table(
    comparison: Comparison, best: frozenset[tuple[int, int]], published: Sequence[Published] = ()
) -> Table:
    """Every pair of encoders, with its quality over all queries and its cost; then what others have published.

    `best`: the (row, column) places that are printed in bold.
    """
    columns = [place for place, column in enumerate(comparison.columns) if column.set_name == TOGETHER]
    costs = [name for name, read in _COSTS.items() if any(read(each.cost) is not None for each in comparison.encoders)]
    if {"GFLOPs", "GFLOPs at its size"} <= set(costs) and _all_at_paper_size(comparison):
        costs.remove("GFLOPs at its size")
    lines = [
        Line(
            _row_labels(comparison, row),
            (*(_cell(comparison, row, column, best) for column in columns), *_cost_values(comparison.cost(row), costs)),
        )
        for row in range(len(comparison.rows))
    ]
    chosen = [comparison.columns[column] for column in columns]
    fitting = [each for each in published if any(each.value(column) is not None for column in chosen)]
    theirs = [_their_line(each, chosen, len(costs)) for each in fitting]
    return Table(
        caption="Mean average precision in per cent, with intervals",
        label_heads=_LABELS,
        groups=grouped([*(dataset_name(each, chosen) for each in chosen), *("cost of a query" for _ in costs)]),
        heads=(*map(_head, chosen), *costs),
        lines=(*lines, *theirs),
        notes=(
            f"In brackets: the {100 * comparison.confidence:g} % interval, from drawing the instances anew "
            f"{comparison.resamples:,} times.",
            *_bold_note(best),
            *(_column_note(comparison, column) for column in columns),
            *_cost_notes(comparison, costs),
            *_their_notes(published, fitting),
        ),
    )


def differences_table(comparison: Comparison) -> Table | None:
    """How much better or worse each row is than its baseline; None if nothing was compared."""
    columns = [
        place
        for place, column in enumerate(comparison.columns)
        if column.set_name == TOGETHER and any(each.column == place for each in comparison.differences)
    ]
    if not columns:
        return None
    found = {(each.row, each.column): each for each in comparison.differences}
    lines = [
        Line(_row_labels(comparison, row), values)
        for row in range(len(comparison.rows))
        if any(values := tuple(_difference(found.get((row, column))) for column in columns))
    ]
    chosen = [comparison.columns[column] for column in columns]
    baselines = dict.fromkeys(comparison.rows[each.baseline].label for each in comparison.differences)
    return Table(
        caption=f"Differences from {', '.join(baselines)} in points of mean average precision",
        label_heads=_LABELS,
        groups=grouped([dataset_name(each, chosen) for each in chosen]),
        heads=tuple(map(_head, chosen)),
        lines=tuple(lines),
        notes=(
            "Paired query by query. Intervals and verdicts are corrected for the number of rows in a column (Holm). A "
            "difference inside the noise is no evidence either way.",
        ),
    )


def sets_table(comparison: Comparison, dataset: str, most: int) -> Table | None:
    """The quality by set of queries, for a dataset with several; at most so many columns, and a note of the others."""
    columns = [
        place
        for place, column in enumerate(comparison.columns)
        if column.dataset == dataset and column.set_name != TOGETHER
    ]
    if len({comparison.columns[column].set_name for column in columns}) < 2:
        return None
    kept = columns[:most]
    chosen = [comparison.columns[column] for column in kept]
    left = f"Left out: {counted(len(columns) - len(kept), 'more column')}." if len(columns) > len(kept) else ""
    return Table(
        caption=f"{dataset}, by set of queries",
        label_heads=_LABELS,
        groups=grouped([column.set_name for column in chosen]),
        heads=tuple(_head(column) for column in chosen),
        lines=tuple(
            Line(_row_labels(comparison, row), tuple(_cell(comparison, row, column, frozenset()) for column in kept))
            for row in range(len(comparison.rows))
        ),
        notes=(*(_column_note(comparison, column) for column in kept), *([left] if left else [])),
    )


def precision_table(comparison: Comparison) -> Table | None:
    """The mean precision at k of each row; None if none was measured."""
    found = {(each.row, each.column): each for each in comparison.cells}
    heads = [
        (place, k)
        for place, column in enumerate(comparison.columns)
        if column.set_name == TOGETHER
        for k in sorted({k for each in comparison.cells if each.column == place for k in each.precision})
    ]
    if not heads:
        return None

    def value(row: int, column: int, k: int) -> Value | None:
        cell = found.get((row, column))
        return Value(percent(cell.precision[k])) if cell and k in cell.precision else None

    names = [comparison.columns[column] for column, _ in heads]
    return Table(
        caption="Mean precision among the first k, in per cent",
        label_heads=_LABELS,
        groups=grouped([f"{dataset_name(column, comparison.columns)} {_head(column)}" for column in names]),
        heads=tuple(f"mP@{k}" for _, k in heads),
        lines=tuple(
            Line(_row_labels(comparison, row), tuple(value(row, column, k) for column, k in heads))
            for row in range(len(comparison.rows))
        ),
    )


def _difference(each: Difference | None) -> Value | None:
    if each is None:
        return None
    interval = percent_range(each.corrected_interval or each.interval, signed=True)
    return Value(signed_percent(each.difference), interval, verdict=each.verdict)


def dataset_name(column: Column, among: Sequence[Column]) -> str:
    """The dataset with its distractors, and with the size of its gallery if that alone tells two of `among` apart."""
    name = f"{column.dataset} + {column.distractors:,}" if column.distractors else column.dataset
    alike = [each for each in among if _kind_of(each) == _kind_of(column)]
    sizes = {each.gallery_photos for each in alike}
    rules = {each.average_precision for each in alike}
    marks = [f"{column.gallery_photos:,} photos"] if len(sizes) > 1 else []
    marks += [f"{column.average_precision} rule"] if len(rules) > 1 else []
    return f"{name} ({', '.join(marks)})" if marks else name


def _kind_of(column: Column) -> tuple[str, str, str, str, int]:
    return column.dataset, column.protocol, column.set_name, column.metric, column.distractors


def _head(column: Column) -> str:
    metric = "" if column.metric == "mAP" else f" {column.metric}"
    # A manifest has one protocol, which says nothing to a reader.
    return column.metric if column.protocol == "instances" else f"{column.protocol}{metric}"


def _row_labels(comparison: Comparison, row: int) -> tuple[str, str, str]:
    return str(row + 1), comparison.rows[row].label, comparison.rows[row].kind


def _cell(comparison: Comparison, row: int, column: int, best: frozenset[tuple[int, int]]) -> Value | None:
    cell = comparison.cell(row, column)
    if cell is None:
        return None
    mark = "" if cell.queries == comparison.columns[column].queries else "†"
    return Value(f"{percent(cell.value)}{mark}", percent_range(cell.interval), is_best=(row, column) in best)


def _cost_values(cost: Cost, names: Sequence[str]) -> list[Value | None]:
    values = [_COSTS[name](cost) for name in names]
    return [
        None if value is None else Value(_cost_text(name, value)) for name, value in zip(names, values, strict=True)
    ]


def _cost_text(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "query bytes" else short_number(value)


def _all_at_paper_size(comparison: Comparison) -> bool:
    return all(each.cost.gigaflops == each.cost.paper_gigaflops for each in comparison.encoders)


def _bold_note(best: frozenset[tuple[int, int]]) -> list[str]:
    if not best:
        return []
    return ["Bold: the best of a column, together with every row whose difference from it is inside the noise."]


def _column_note(comparison: Comparison, place: int) -> str:
    column = comparison.columns[place]
    name = " ".join(part for part in (dataset_name(column, comparison.columns), _head(column)) if part)
    where = f" ({column.set_name})" if column.set_name != TOGETHER else ""
    cells: list[Cell] = [each for each in comparison.cells if each.column == place and each.queries != column.queries]
    other = "".join(f" † Row {each.row + 1} counts {counted(each.queries, 'query', 'queries')}." for each in cells)
    return (
        f"{name}{where}: {counted(column.queries, 'query', 'queries')} that show{'s' if column.queries == 1 else ''} "
        f"{counted(column.instances, 'instance')}, {counted(column.gallery_photos, 'gallery photo')}.{other}"
    )


def _cost_notes(comparison: Comparison, costs: Sequence[str]) -> list[str]:
    notes = []
    if "GFLOPs" in costs:
        notes.append("GFLOPs: twice the multiply-accumulates for a photo of 362 × 362 px, as the papers count.")
    if "GFLOPs at its size" in costs:
        notes.append("GFLOPs at its size: for a square photo with the longest side that the encoder describes.")
    if "ms" in costs:
        size = comparison.timed_photo
        photo = f" for a photo of {size[0]} × {size[1]} px" if size else ""
        notes.append(
            f"ms: the median time of a description{photo}{f', {comparison.machine}' if comparison.machine else ''}."
        )
    return notes


def _their_line(published: Published, columns: Sequence[Column], costs: int) -> Line:
    values = [published.value(column) for column in columns]
    return Line(
        ("", f"{published.system} (theirs)", "symmetric"),
        (*(None if value is None else Value(f"{value:.1f}") for value in values), *(None for _ in range(costs))),
        is_theirs=True,
    )


def _their_notes(published: Sequence[Published], fitting: Sequence[Published]) -> list[str]:
    sources = dict.fromkeys(each.source for each in fitting)
    notes = [f"Theirs: {source} Published under their conditions; not measured here." for source in sources]
    silent = [each.key for each in published if each not in fitting]
    if silent:
        notes.append(f"Nothing is published for these columns by {', '.join(silent)}.")
    return notes
