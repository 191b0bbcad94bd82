from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from askew_training.errors import DataError
from askew_training.evaluate.comparison.assembly import Resampling, assemble
from askew_training.evaluate.comparison.record import Cost, read_comparison
from askew_training.evaluate.comparison.tables import notes_of, tables_of
from tests.training.evaluate.measurements import measurement, side

LANDMARKS = {f"landmark {k}": [0.5 + 0.01 * k, 0.4] for k in range(11)}
RESAMPLING = Resampling(resamples=1000)


def shifted(by: float) -> dict[str, list[float]]:
    return {name: [value + by for value in values] for name, values in LANDMARKS.items()}


def cost(gigaflops: float) -> Cost:
    return Cost(query_bytes=128, photo_side=362, gigaflops=gigaflops, file_bytes=10, milliseconds=5.0)


@pytest.fixture
def measured():
    return [
        measurement(LANDMARKS, queries="teacher"),
        measurement(shifted(-0.1), queries="small"),
        measurement(shifted(-0.2), queries="slow"),
    ]


@pytest.fixture
def costs():
    return {side(name).sha256: cost(value) for name, value in (("teacher", 40.0), ("small", 2.0), ("slow", 6.0))}


def test_cells_hold_quality_with_an_interval(measured, costs) -> None:
    comparison, _ = assemble(measured, costs, resampling=RESAMPLING)
    cell = comparison.cell(0, 0)
    assert cell is not None and cell.interval is not None
    assert cell.value == pytest.approx(0.475)
    assert cell.interval.low < cell.value < cell.interval.high
    assert (cell.queries, cell.precision) == (22, {1: 0.0})
    assert (comparison.columns[0].queries, comparison.columns[0].instances) == (22, 11)


def test_every_other_pair_is_compared_with_the_baseline_as_one_family(measured, costs) -> None:
    comparison, _ = assemble(measured, costs, baseline="small@1", resampling=RESAMPLING)
    found = {each.row: each for each in comparison.differences}
    assert sorted(found) == [0, 2]
    assert {each.baseline for each in found.values()} == {1}
    assert (found[0].verdict, found[2].verdict) == ("better", "worse")
    assert found[0].difference == pytest.approx(0.1)
    assert found[0].corrected_p_value == pytest.approx(2 * found[0].p_value, rel=1e-6)
    assert "small@1 → teacher@1" in found[0].sentence
    with pytest.raises(DataError, match="Expected a baseline"):
        assemble(measured, costs, baseline="none", resampling=RESAMPLING)


def test_the_frontier_holds_who_is_worth_the_cost(measured, costs) -> None:
    comparison, _ = assemble(measured, costs, resampling=RESAMPLING)
    by_cost = {each.cost: each.rows for each in comparison.frontiers}
    assert by_cost["gigaflops"] == (1, 0)
    # At the same cost, the best alone.
    assert by_cost["milliseconds"] == by_cost["query_bytes"] == (0,)
    assert comparison.frontier_cost == "gigaflops"


def test_without_files_only_the_bytes_of_a_query_are_known(measured) -> None:
    comparison, _ = assemble(measured, {}, resampling=RESAMPLING)
    assert comparison.frontier_cost is None
    assert {each.cost for each in comparison.frontiers} == {"query_bytes"}
    assert comparison.cost(0) == Cost(query_bytes=128, photo_side=128)
    text = printed(comparison)
    assert "GFLOPs" not in text
    assert "query, bytes" in text


def test_a_comparison_is_read_as_it_was_written(measured, costs, tmp_path: Path) -> None:
    comparison, _ = assemble(measured, costs, resampling=RESAMPLING)
    comparison.write(tmp_path / "c.json")
    assert read_comparison(tmp_path / "c.json") == comparison
    (tmp_path / "c.json").write_text('{"format": "askew-measurement-1"}')
    with pytest.raises(DataError, match=r"c\.json is not a comparison: .*askew compare --json"):
        read_comparison(tmp_path / "c.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_comparison(tmp_path / "none.json")
    cut = comparison.model_copy(update={"rows": comparison.rows[:1]})
    cut.write(tmp_path / "c.json")
    with pytest.raises(DataError, match=r"is not a comparison: .*it refers to row \d of 1"):
        read_comparison(tmp_path / "c.json")


def test_the_same_seed_gives_the_same_comparison(measured, costs) -> None:
    first, second = (assemble(measured, costs, resampling=RESAMPLING)[0] for _ in range(2))
    assert first == second
    assert first != assemble(measured, costs, resampling=Resampling(resamples=1000, seed=1))[0]


def test_the_tables_say_what_is_better_what_is_noise_and_who_is_on_the_frontier(measured, costs) -> None:
    noisy = {name: [value + shift for value in values] for (name, values), shift in zip(LANDMARKS.items(), [0.05, -0.05] * 6, strict=False)}  # fmt: skip
    measured.append(measurement(noisy, queries="[red]other"))
    comparison, _ = assemble(measured, costs, resampling=RESAMPLING)
    text = printed(comparison)
    assert "47.5 (" in text
    assert "inside the noise" in text
    assert "▼" in text
    assert "2.00 @362" in text
    # A name is text, not the terminal's markup.
    assert "[red]other@1 → teacher@1" in text
    small = next(line for line in text.splitlines() if "small@1" in line)
    assert "*" not in small  # One encoder's operations are unknown: the tables mark no frontier by them.


def test_a_dataset_that_the_baseline_lacks_has_cells_and_no_differences(measured, costs) -> None:
    measured.append(measurement(LANDMARKS, queries="small", dataset="walks"))
    comparison, _ = assemble(measured, costs, resampling=RESAMPLING)
    walks = next(i for i, column in enumerate(comparison.columns) if column.dataset == "walks")
    assert comparison.cell(1, walks) is not None
    assert comparison.cell(0, walks) is None
    assert [each for each in comparison.differences if each.column == walks] == []
    assert "–" in printed(comparison)


def printed(comparison) -> str:
    console = Console(file=StringIO(), width=200)
    for table in tables_of(comparison):
        console.print(table)
    for note in notes_of(comparison):
        console.print(note, markup=False)
    return console.file.getvalue()  # type: ignore[attr-defined]
