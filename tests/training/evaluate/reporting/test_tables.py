"""The tables of a report: what is bold, what is theirs, and what each format makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.comparison.assembly import assemble
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.reporting.placing import compare, place
from askew_training.evaluate.reporting.published import choose_published, read_published
from askew_training.evaluate.reporting.table import Table
from askew_training.evaluate.reporting.writing import Choices, Report
from tests.training.evaluate.measurements import measurement

INSTANCES = [f"instance-{i}" for i in range(12)]


def precisions(mean: float, spread: float, seed: int) -> dict[str, list[float | None]]:
    drawn = np.random.default_rng(seed).normal(mean, spread, (len(INSTANCES), 3)).clip(0, 1)
    return {name: [float(value) for value in row] for name, row in zip(INSTANCES, drawn, strict=True)}


def tables_of(measurements: list[Measurement], published: tuple[str, ...] = ()) -> list[Table]:
    choices = Choices(published=choose_published(published))
    return Report(compare(measurements), measurements, choices).tables


def column_of(table: Table, number: int) -> dict[str, tuple[str, bool]]:
    return {
        line.labels[1]: (value.text, value.is_best)
        for line in table.lines
        if (value := line.values[number]) is not None
    }


def test_the_best_is_bold_together_with_what_is_inside_its_noise() -> None:
    teacher = measurement(precisions(0.8, 0.05, 0), queries="teacher")
    close = measurement(precisions(0.795, 0.05, 1), queries="close")
    far = measurement(precisions(0.5, 0.05, 2), queries="far")
    results, differences, *_ = tables_of([teacher, close, far])
    bold = {name: is_best for name, (_, is_best) in column_of(results, 0).items()}
    assert bold == {"teacher@1 → teacher@1": True, "close@1 → teacher@1": True, "far@1 → teacher@1": False}
    verdicts = {line.labels[1]: line.values[0].verdict for line in differences.lines if line.values[0]}
    assert verdicts == {"close@1 → teacher@1": "inside the noise", "far@1 → teacher@1": "worse"}


def test_a_single_row_is_not_the_best_of_anything() -> None:
    results, *_ = tables_of([measurement(precisions(0.8, 0.1, 0))])
    assert not any(value.is_best for line in results.lines for value in line.values if value)


def test_the_teacher_is_what_others_are_compared_with_wherever_it_stands() -> None:
    student = measurement(precisions(0.7, 0.1, 0))
    teacher = measurement(precisions(0.8, 0.1, 1), queries="teacher")
    differences = tables_of([student, teacher])[1]
    assert differences.caption == "Differences from teacher@1 → teacher@1 in points of mean average precision"


def test_galleries_of_two_sizes_are_told_apart() -> None:
    whole = measurement(precisions(0.8, 0.1, 0))
    part = measurement(precisions(0.8, 0.1, 1), queries="other").model_copy(update={"gallery_photos": 19})
    results, *_ = tables_of([whole, part])
    assert [group.text for group in results.groups] == ["walls (20 photos)", "walls (19 photos)", "cost of a query"]


def test_published_figures_are_marked_as_theirs_and_only_where_they_published(tmp_path: Path) -> None:
    ours = [
        measurement(precisions(0.6, 0.1, seed), dataset=dataset, protocol=protocol)
        for seed, (dataset, protocol) in enumerate([("roxford5k", "medium"), ("roxford5k", "easy")])
    ]
    ours.append(ours[0].model_copy(update={"distractors": 1_001_001, "gallery_photos": 1_001_021}))
    report = Report(compare(ours), ours, Choices(published=choose_published(("aml-contrastive-plus", "vitgal"))))
    results = report.tables[0]
    theirs = {
        line.labels: [value.text if value else None for value in line.values]
        for line in results.lines
        if line.is_theirs
    }
    # Medium, easy, medium with a million distractors, and the cost, which nobody published with them.
    assert theirs["", "EN-B3 (2048) from RN101, Contr⁺ (theirs)", "symmetric"] == ["66.8", None, None, None]
    assert theirs["", "R101-GeM (as in DSM) (theirs)", "symmetric"] == ["65.3", None, "46.1", None]
    assert any("Budnik" in note and "not measured here" in note for note in results.notes)
    report.write_markdown(tmp_path / "t.md")
    assert "| *EN-B3 (2048) from RN101, Contr⁺ (theirs)* | *symmetric* | 66.8 |" in (tmp_path / "t.md").read_text()
    report.write_html(tmp_path / "t.html", is_embedded=True)
    assert (tmp_path / "t.html").read_text().count('<tr class="theirs">') == len(theirs) == 3


def test_published_figures_of_other_datasets_are_named_and_not_printed() -> None:
    results, *_ = tables_of([measurement(precisions(0.6, 0.1, 0))], published=("aml",))
    assert not any(line.is_theirs for line in results.lines)
    assert any("aml-regression" in note for note in results.notes)


def test_no_asymmetric_figure_is_among_the_published() -> None:
    for each in read_published().values():
        assert "asym" not in each.system.lower()
        assert {key.split(".")[0].removesuffix("+1m") for key in each.values} <= {"roxford5k", "rparis6k"}
    with pytest.raises(DataError, match=r"no published figures 'aml-regresion'.*aml-regression"):
        choose_published(("aml-regresion",))


def test_latex_has_as_many_cells_in_each_row_as_columns(tmp_path: Path) -> None:
    ours = [
        measurement(precisions(0.6, 0.1, seed), queries=queries, dataset="roxford5k", protocol=protocol)
        for seed, (queries, protocol) in enumerate([("a", "medium"), ("a", "hard"), ("b", "medium")])
    ]
    report = Report(compare(ours), ours, Choices(published=choose_published(("aml",))))
    report.write_latex(tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == len(report.tables)
    first = text.split(r"\begin{tabular}{lllrrr}")[1].split(r"\end{tabular}")[0]
    rows = [line for line in first.splitlines() if line.startswith("{}") and "multicolumn" not in line]
    assert [row.count(" & ") for row in rows] == [5] * (1 + 2 + 10)
    assert r"\cmidrule(lr){4-5} \cmidrule(lr){6-6}" in first
    assert r"Contr\textsuperscript{+} (theirs)" in first


def test_a_measurement_that_the_comparison_does_not_hold_is_refused() -> None:
    one, other = measurement(precisions(0.6, 0.1, 0)), measurement(precisions(0.6, 0.1, 1), protocol="hard")
    comparison, _ = assemble([one], {})
    with pytest.raises(DataError, match="does not hold the measurement of student@1 on teacher@1, walls hard"):
        place(comparison, [one, other])
    with pytest.raises(DataError, match="two measurements"):
        place(comparison, [one, measurement(precisions(0.6, 0.1, 2))])
    # The same measurement twice, from a file and from an evaluation, is one.
    assert place(comparison, [one, one.model_copy()]) == {(0, 0): one}
