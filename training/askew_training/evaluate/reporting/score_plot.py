"""How the scores of matches and of non-matches are distributed."""

from __future__ import annotations

from collections.abc import Sequence

from askew_training.evaluate.comparison.record import Comparison
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.reporting.frontier_plot import Plot
from askew_training.evaluate.reporting.svg import LEFT, RIGHT, TOP, WIDTH, Axis, Drawing, path
from askew_training.evaluate.reporting.wording import counted, percent

MOST_PLOTS = 12
_BINS = 100
_HEIGHT = 200.0
_BOTTOM = 42.0


def score_plots(comparison: Comparison) -> tuple[list[Plot], int]:
    """A plot for each distribution of the comparison, and how many were left out beyond MOST_PLOTS."""
    plots = []
    for each in comparison.distributions[:MOST_PLOTS]:
        label = comparison.rows[each.row].label
        legend = [
            f"{counted(sum(each.matches), 'match', 'matches')}, {counted(sum(each.non_matches), 'non-match', 'non-matches')}"
        ]
        if each.separation is not None:
            legend.append(
                f"a match scores higher than a non-match of its query in {percent(each.separation)} % of cases"
            )
        title = f"{each.row + 1}: {label}, {each.dataset}"
        plots.append(_plot(title, each.matches, each.non_matches, ("matches", "non-matches"), tuple(legend)))
    return plots, max(0, len(comparison.distributions) - MOST_PLOTS)


def head_plot(title: str, measurement: Measurement) -> Plot | None:
    """The scores at the head of the rankings, which is all that a measurement keeps; None if it keeps none."""
    found = [each for query in measurement.results for each in query.first]
    right = _histogram([each.score for each in found if each.relevance == "right"])
    wrong = _histogram([each.score for each in found if each.relevance == "wrong"])
    if not found or not sum(right) + sum(wrong):
        return None
    longest = max(len(query.first) for query in measurement.results)
    legend = (f"only the first {longest} of each ranking: {sum(right):,} right, {sum(wrong):,} wrong",)
    return _plot(title, right, wrong, ("right", "wrong"), legend)


def _histogram(scores: Sequence[float]) -> tuple[int, ...]:
    counts = [0] * _BINS
    for score in scores:
        counts[min(_BINS - 1, max(0, int((score + 1) / 2 * _BINS)))] += 1
    return tuple(counts)


def _plot(
    title: str, upper: Sequence[int], lower: Sequence[int], names: tuple[str, str], legend: tuple[str, ...]
) -> Plot:
    """Two histograms over [-1, 1], each as shares of its own sum."""
    bins = len(upper)
    used = [place for place in range(bins) if upper[place] or lower[place]] or [0, bins - 1]
    first, last = max(0, used[0] - 1), min(bins, used[-1] + 2)
    width = 2 / bins
    across = Axis(-1 + first * width, -1 + last * width, LEFT, WIDTH - RIGHT)
    shares = [[count / (sum(counts) or 1) for count in counts] for counts in (upper, lower)]
    up = Axis(0, max(map(max, shares)) * 1.25 or 1, _HEIGHT - _BOTTOM, TOP)
    spoken = "; ".join(f"{name}: {_spoken(counts, width)}" for name, counts in zip(names, (upper, lower), strict=True))
    drawing = Drawing(f"Scores, {title}", f"The score across, the share of pairs up. {spoken}.", _HEIGHT)
    drawing.axes(across, up, ("score", "share"), with_marks_up=False)
    for kind, name, values in (("lower", names[1], shares[1]), ("upper", names[0], shares[0])):
        if not any(values):
            continue
        outline: list[tuple[float, float]] = [(across.start, up.start)]
        for place in range(first, last):
            left, right = (across.at(-1 + each * width) for each in (place, place + 1))
            y = up.at(values[place])
            outline += [(left, y), (right, y)]
        drawing.add("path", f"area {kind}", d=path([*outline, (across.end, up.start)]))
        peak = max(range(bins), key=lambda place: values[place])
        x = across.at(-1 + (peak + 0.5) * width)
        x = min(max(x, across.start + 34), across.end - 34)
        drawing.text(x, up.at(values[peak]) - 5, name, f"name {kind}-name")
    return Plot(title, drawing.markup(), legend)


def _spoken(counts: Sequence[int], width: float) -> str:
    total = sum(counts)
    if not total:
        return "none"
    mean = sum(count * (-1 + (place + 0.5) * width) for place, count in enumerate(counts)) / total
    return f"{total:,} pairs, mean score about {mean:.2f}"
