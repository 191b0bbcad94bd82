"""Which queries a report shows, and that it stays bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.errors import DataError
from askew_training.evaluate.measurement import Found, Measurement, QueryResult
from askew_training.evaluate.reporting.cases import MOST_CASES, CaseGroup, choose_cases
from askew_training.evaluate.reporting.placing import compare, place
from askew_training.evaluate.reporting.writing import Choices, Report
from tests.training.evaluate.measurements import measurement, side

Precisions = dict[str, list[float | None]]
TEACHER: Precisions = {"arch": [0.9, 0.8], "bridge": [0.5, 0.6], "tower": [0.7, 0.7], "none": [None]}
STUDENT: Precisions = {"arch": [0.2, 0.1], "bridge": [0.9, 0.6], "tower": [0.6, 0.7], "none": [None]}


def groups_of(*measurements: Measurement, of_each: int = 4, asked: tuple[str, ...] = ()) -> list[CaseGroup]:
    comparison = compare(measurements)
    groups, left_out = choose_cases(comparison, place(comparison, measurements), of_each, asked)
    assert left_out == 0
    return groups


def shown(group: CaseGroup) -> dict[str, list[str]]:
    return {each.title: [case.result.id for case in each.cases] for each in group.lists}


def test_a_student_is_shown_where_it_lost_and_gained_most_against_the_teacher() -> None:
    teacher, student = measurement(TEACHER, queries="teacher"), measurement(STUDENT)
    of_teacher, of_student = groups_of(teacher, student)
    # One query for each instance: arch/0 lost as much as arch/1, and the first of them is shown.
    assert shown(of_student) == {
        "Lost most against the gallery's encoder": ["arch/0.jpg", "tower/0.jpg"],
        "Gained most on the gallery's encoder": ["bridge/0.jpg"],
    }
    assert of_student.reference_label == "teacher@1 → teacher@1"
    lost = of_student.lists[0].cases[0]
    assert lost.reference is not None and (lost.result.average_precision, lost.reference.average_precision) == (
        0.2,
        0.9,
    )
    assert shown(of_teacher) == {
        "Worst": ["bridge/0.jpg", "tower/0.jpg", "arch/1.jpg"],
        "Best": ["arch/0.jpg", "tower/0.jpg", "bridge/1.jpg"],
    }


def test_a_student_without_its_teacher_is_shown_at_its_best_and_worst() -> None:
    (group,) = groups_of(measurement(STUDENT), of_each=1)
    assert shown(group) == {"Worst": ["arch/1.jpg"], "Best": ["bridge/0.jpg"]}
    assert group.reference_label == ""


def test_a_query_that_is_asked_for_is_shown_even_if_it_does_not_count() -> None:
    (group,) = groups_of(measurement(STUDENT), of_each=0, asked=("none/0.jpg", "arch/0.jpg"))
    assert shown(group) == {"Asked for": ["arch/0.jpg", "none/0.jpg"]}
    with pytest.raises(DataError, match=r"No measurement has a query 'arch/9.jpg'.*arch/0.jpg"):
        groups_of(measurement(STUDENT), asked=("arch/9.jpg",))


@pytest.mark.slow
def test_many_measurements_show_no_more_than_a_page_holds(tmp_path: Path) -> None:
    many = [
        measurement({f"thing-{i}": [i / 30] for i in range(30)}, queries=f"student-{number}") for number in range(6)
    ]
    comparison = compare(many)
    groups, left_out = choose_cases(comparison, place(comparison, many), 6)
    assert sum(len(each.cases) for group in groups for each in group.lists) == MOST_CASES
    assert left_out == 6 * 2 * 6 - MOST_CASES
    Report(comparison, many, Choices(cases=6)).write_html(tmp_path / "page.html", is_embedded=True)
    assert f"Left out: {left_out} more cases. A report shows {MOST_CASES}." in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_tens_of_thousands_of_queries_make_a_page_of_the_same_size(tmp_path: Path) -> None:
    def page(queries: int) -> str:
        results = tuple(
            QueryResult(
                id=f"{i}.jpg", instance=str(i % 500), set_name="all", positives=1, average_precision=(i % 97) / 97,
                first=tuple(Found(id=f"g{k}.jpg", score=0.5, relevance="wrong") for k in range(2)),
            )
            for i in range(queries)
        )  # fmt: skip
        one = Measurement(
            dataset="many", protocol="public", queries=side("a"), gallery=side("b"), gallery_photos=1, results=results,
            excluded={"without a photo": tuple(f"lost-{i}" for i in range(queries))},
        )  # fmt: skip
        Report(compare([one]), [one], Choices()).write_html(tmp_path / "page.html", is_embedded=True)
        return (tmp_path / "page.html").read_text()

    few, many = page(1000), page(20_000)
    assert abs(len(many) - len(few)) < 200
    assert "20,000 queries" in many and "20,000 ids, without a photo" in many and "and 19,980 more" in many


def test_a_student_that_does_exactly_as_well_as_its_teacher_is_shown_beside_it() -> None:
    teacher, student = measurement(TEACHER, queries="teacher"), measurement(TEACHER)
    of_student = groups_of(teacher, student)[1]
    assert list(shown(of_student)) == ["Worst", "Best"]
    assert all(case.reference is not None for each in of_student.lists for case in each.cases)
