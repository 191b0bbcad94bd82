"""Plots: points stand where their values are, and everything is said in words, too."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from askew_training.evaluate.comparison.assembly import assemble
from askew_training.evaluate.comparison.record import Comparison, Cost, ScoreDistribution
from askew_training.evaluate.reporting.frontier_plot import MOST_PLOTS, frontier_plots
from askew_training.evaluate.reporting.score_plot import head_plot, score_plots
from askew_training.evaluate.reporting.svg import Axis
from tests.training.evaluate.measurements import measurement, side

COSTS = {"cheap": 1.0, "dear": 100.0, "poor": 10.0}
QUALITY = {"cheap": 0.5, "dear": 0.9, "poor": 0.4}


def comparison_of(datasets: int = 1) -> Comparison:
    measurements = [
        measurement({"arch": [quality], "tower": [quality - 0.1]}, queries=name, dataset=f"walls-{number}")
        for number in range(datasets)
        for name, quality in QUALITY.items()
    ]
    costs = {side(name).sha256: Cost(query_bytes=128, photo_side=362, gigaflops=cost) for name, cost in COSTS.items()}
    return assemble(measurements, costs)[0]


def elements(markup: str, tag: str, kind: str = "") -> list[ElementTree.Element]:
    root = ElementTree.fromstring(markup)
    return [each for each in root.iter(tag) if kind in (each.get("class") or "").split() or not kind]


def test_the_frontier_passes_the_pairs_that_no_other_beats() -> None:
    (plot,), left_out = frontier_plots(comparison_of())
    assert left_out == 0
    assert plot.legend == ("On the frontier, the cheapest first: 1, 2.",)
    (cheap,) = elements(plot.drawing, "circle", "point")
    (stair,) = elements(plot.drawing, "path", "frontier")
    corners = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", stair.get("d") or "")]
    assert corners[0] == pytest.approx((float(cheap.get("cx") or 0), float(cheap.get("cy") or 0)))
    # To the right at the quality of the cheap one, then up to the dear one.
    assert (
        corners[1][1] == corners[0][1]
        and corners[2][1] < corners[1][1]
        and corners[2][0] == corners[1][0] > corners[0][0]
    )
    numbers = {each.text for each in elements(plot.drawing, "text", "number")}
    assert numbers == {"1", "2", "3"}
    (spoken,) = elements(plot.drawing, "desc")
    assert "row 2, dear@1 → teacher@1: 85.0 % [" in (spoken.text or "")


def test_plots_beyond_what_a_page_holds_are_counted() -> None:
    plots, left_out = frontier_plots(comparison_of(MOST_PLOTS + 2))
    assert (len(plots), left_out) == (MOST_PLOTS, 2)


def test_without_costs_there_is_no_frontier() -> None:
    comparison, _ = assemble([measurement({"arch": [0.5]})], {})
    assert frontier_plots(comparison) == ([], 0)


def test_a_distribution_has_its_peak_where_its_scores_are() -> None:
    matches, others = [0] * 100, [0] * 100
    # Bins of 0.02 from -1: the 80th begins at 0.6, the 60th at 0.2.
    matches[80], others[60], others[61] = 10, 400, 100
    comparison = comparison_of().model_copy(
        update={
            "distributions": (
                ScoreDistribution(
                    row=0, dataset="walls-0", matches=tuple(matches), non_matches=tuple(others), mean_match=0.61,
                    mean_non_match=0.21, separation=0.98,
                ),
            )
        }
    )  # fmt: skip
    (plot,), _ = score_plots(comparison)
    assert plot.legend == (
        "10 matches, 500 non-matches",
        "a match scores higher than a non-match of its query in 98.0 % of cases",
    )
    names = {each.text: float(each.get("x") or 0) for each in elements(plot.drawing, "text", "name")}
    assert names["non-matches"] < names["matches"]
    (spoken,) = elements(plot.drawing, "desc")
    assert "matches: 10 pairs, mean score about 0.61" in (spoken.text or "")


def test_a_measurement_alone_shows_the_scores_that_it_keeps_and_says_so() -> None:
    plot = head_plot("1: student", measurement({"arch": [0.5, 0.2]}))
    assert plot is not None
    assert plot.legend == ("only the first 1 of each ranking: 2 right, 0 wrong",)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 100, 0, 1), [0, 25, 50, 75, 100]),
        (Axis(-1, 1, 0, 1), [-1, -0.5, 0, 0.5, 1]),
        (Axis(41.3, 43.1, 0, 1), [41.5, 42, 42.5, 43]),
        (Axis(1, 100, 0, 1, is_logarithmic=True), [1, 2, 5, 10, 20, 50, 100]),
        (Axis(1, 1e5, 0, 1, is_logarithmic=True), [1, 10, 100, 1000, 1e4, 1e5]),
    ],
)
def test_axes_are_marked_at_round_values(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == pytest.approx(ticks)
    assert axis.at(axis.low) == pytest.approx(axis.start)
    assert axis.at(axis.high) == pytest.approx(axis.end)
