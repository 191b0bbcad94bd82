"""The frontier of quality and cost: which pairs no other beats at the same cost or less."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from askew_training.evaluate.comparison.record import TOGETHER, Cell, Comparison, Cost, CostName
from askew_training.evaluate.reporting.results import dataset_name
from askew_training.evaluate.reporting.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SHAPES,
    TOP,
    WIDTH,
    Axis,
    Drawing,
    padded,
    padded_logarithmic,
    path,
)
from askew_training.evaluate.reporting.wording import percent, percent_range, short_number

MOST_PLOTS = 8
_LOGARITHMIC_FROM = 4
"""The ratio of the largest cost to the smallest from which the axis is logarithmic."""
_AXES: dict[CostName, str] = {
    "gigaflops": "GFLOPs of a query",
    "milliseconds": "ms of a query",
    "file_bytes": "bytes of the query encoder's file",
    "query_bytes": "bytes of a query",
}


@dataclass(frozen=True)
class Plot:
    """A drawing and what stands below it."""

    title: str
    drawing: Markup
    legend: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Point:
    row: int
    cost: float
    cell: Cell


def frontier_plots(comparison: Comparison) -> tuple[list[Plot], int]:
    """A plot for each column of all queries that has a frontier, and how many were left out beyond MOST_PLOTS."""
    cost = comparison.frontier_cost
    if cost is None:
        return [], 0
    places = [
        frontier.column
        for frontier in comparison.frontiers
        if frontier.cost == cost and comparison.columns[frontier.column].set_name == TOGETHER
    ]
    plots = [plot for place in places[:MOST_PLOTS] if (plot := _plot(comparison, place, cost))]
    return plots, max(0, len(places) - MOST_PLOTS)


def _plot(comparison: Comparison, place: int, cost: CostName) -> Plot | None:
    points = [
        _Point(cell.row, value, cell)
        for cell in comparison.cells
        if cell.column == place and (value := cost_of(comparison.cost(cell.row), cost)) is not None and value > 0
    ]
    if len(points) < 2:
        return None
    column = comparison.columns[place]
    best = next(each.rows for each in comparison.frontiers if (each.column, each.cost) == (place, cost))
    title = f"{dataset_name(column, comparison.columns)} {column.protocol}".strip()
    spoken = "; ".join(
        f"row {point.row + 1}, {comparison.rows[point.row].label}: {percent(point.cell.value)} % "
        f"{percent_range(point.cell.interval)} at {short_number(point.cost)}"
        for point in points
    )
    drawing = Drawing(f"{column.metric} and cost, {title}", f"{_AXES[cost]} across, {column.metric} up. {spoken}.")
    across, up = _axes(points)
    drawing.axes(across, up, (_AXES[cost], f"{column.metric}, %"))
    _draw_frontier(drawing, points, best, across, up)
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda each: -each.cell.value):
        x, y = across.at(point.cost), up.at(100 * point.cell.value)
        style = point.row % len(SHAPES)
        if point.cell.interval is not None:
            low, high = (up.at(100 * each) for each in (point.cell.interval.low, point.cell.interval.high))
            drawing.add("line", f"reach series-{style}", x1=x, x2=x, y1=low, y2=high)
        drawing.point(x, y, SHAPES[style], f"point series-{style}")
        _number(drawing, point.row + 1, x, y, taken)
    cheapest_first = ", ".join(str(row + 1) for row in best)
    legend = (f"On the frontier, the cheapest first: {cheapest_first}.",)
    return Plot(title, drawing.markup(), legend)


def cost_of(cost: Cost, name: CostName) -> float | None:
    """One of the figures of a cost."""
    value: float | None = {
        "gigaflops": cost.gigaflops,
        "milliseconds": cost.milliseconds,
        "file_bytes": cost.file_bytes,
        "query_bytes": cost.query_bytes,
    }[name]
    return value


def _axes(points: list[_Point]) -> tuple[Axis, Axis]:
    costs = [point.cost for point in points]
    is_logarithmic = max(costs) / min(costs) >= _LOGARITHMIC_FROM
    ends = padded_logarithmic(costs) if is_logarithmic else padded(costs, floor=0.0)
    shown = [100 * point.cell.value for point in points]
    shown += [
        100 * end
        for point in points
        if point.cell.interval
        for end in (point.cell.interval.low, point.cell.interval.high)
    ]
    return (
        Axis(*ends, LEFT, WIDTH - RIGHT, is_logarithmic),
        Axis(*padded(shown, 0.0, 100.0), HEIGHT - BOTTOM, TOP),
    )


def _draw_frontier(drawing: Drawing, points: list[_Point], best: tuple[int, ...], across: Axis, up: Axis) -> None:
    """A stair: between two points of the frontier, the cheaper one is the best to be had."""
    chosen = sorted((point for point in points if point.row in best), key=lambda point: point.cost)
    corners: list[tuple[float, float]] = []
    for point in chosen:
        x, y = across.at(point.cost), up.at(100 * point.cell.value)
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    if corners:
        drawing.add("path", "frontier", d=path([*corners, (across.end, corners[-1][1])]))


def _number(drawing: Drawing, number: int, x: float, y: float, taken: list[tuple[float, float]]) -> None:
    """Write a row's number beside its point, where no other number stands yet."""
    offsets = [(10, -7), (10, 15), (-10, -7), (-10, 15), (10, -21), (10, 29), (-10, -21), (-10, 29)]
    spots = [(x + dx, y + dy, "start" if dx > 0 else "end") for dx, dy in offsets]
    inside = [spot for spot in spots if TOP <= spot[1] <= HEIGHT - BOTTOM - 3]
    free = (spot for spot in inside if all(abs(spot[0] - a) > 14 or abs(spot[1] - b) > 11 for a, b in taken))
    chosen = next(free, spots[0])
    taken.append((chosen[0], chosen[1]))
    drawing.text(chosen[0], chosen[1], str(number), "number", anchor=chosen[2])
