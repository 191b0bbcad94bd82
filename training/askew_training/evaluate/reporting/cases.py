"""Choosing the queries whose pictures are shown: those that were asked for, the best and the worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from askew_training.errors import DataError
from askew_training.evaluate.comparison.record import Comparison
from askew_training.evaluate.measurement import Measurement, QueryResult
from askew_training.evaluate.reporting.placing import Placed, reference_row
from askew_training.evaluate.reporting.wording import counted, readable

_ASKED = "Asked for"
MOST_CASES = 60
"""In one report; each is one or two strips of eleven pictures."""


@dataclass(frozen=True)
class Case:
    """A query with how a row ranks it, and, where there is one, how the gallery's own encoder does (`reference`)."""

    result: QueryResult
    reference: QueryResult | None = None


@dataclass(frozen=True)
class CaseList:
    """Some queries of one measurement. `title`: why they were chosen. `note`: of how many, and by which rule."""

    title: str
    cases: tuple[Case, ...]
    note: str = ""


@dataclass(frozen=True)
class CaseGroup:
    """All that is shown of one measurement. `row`, `column`: its place. `reference_label`: of what it is compared with."""

    row: int
    column: int
    label: str
    reference_label: str
    lists: tuple[CaseList, ...]


def choose_cases(
    comparison: Comparison, placed: Placed, of_each: int, asked: Sequence[str] = ()
) -> tuple[list[CaseGroup], int]:
    """Choose `of_each` best and worst queries of each measurement, and those that were asked for (`asked`, photo ids).

    Where the gallery's own encoder was measured on the same queries, best and worst are those that gained and lost most
    against it. At most one query for each instance is chosen, so that one landmark does not fill a list. Returns the
    groups, and how many cases were left out beyond MOST_CASES. Raises DataError for an id that no measurement holds.
    """
    _check(placed, asked)
    groups: list[CaseGroup] = []
    shown = left_out = 0
    for (row, column), measurement in sorted(placed.items(), key=lambda entry: (entry[0][1], entry[0][0])):
        place = reference_row(comparison, row)
        reference = placed.get((place, column)) if place is not None else None
        lists = []
        for chosen in _lists(measurement, reference, of_each, asked):
            room = max(0, MOST_CASES - shown)
            # What was asked for is always shown.
            kept = chosen.cases if chosen.title == _ASKED else chosen.cases[:room]
            shown, left_out = shown + len(kept), left_out + len(chosen.cases) - len(kept)
            if kept:
                lists.append(CaseList(chosen.title, kept, chosen.note))
        if lists:
            label = comparison.rows[place].label if reference is not None and place is not None else ""
            groups.append(CaseGroup(row, column, comparison.rows[row].label, label, tuple(lists)))
    return groups, left_out


def photos_of(comparison: Comparison, groups: Sequence[CaseGroup], depth: int) -> set[tuple[str, str]]:
    """Dataset and id of all photos that some cases show: the queries, and the first `depth` of each ranking."""
    results = [
        (comparison.columns[group.column].dataset, result)
        for group in groups
        for each in group.lists
        for case in each.cases
        for result in (case.result, case.reference)
        if result is not None
    ]
    return {
        (dataset, photo)
        for dataset, result in results
        for photo in (result.id, *(each.id for each in result.first[:depth]))
    }


def _lists(
    measurement: Measurement, reference: Measurement | None, of_each: int, asked: Sequence[str]
) -> Iterable[CaseList]:
    theirs = {each.id: each for each in reference.counted} if reference else {}
    wanted = set(asked)
    cases = [Case(each, theirs.get(each.id)) for each in measurement.results if each.id in wanted]
    if cases:
        yield CaseList(_ASKED, tuple(cases))
    both = [Case(each, theirs[each.id]) for each in measurement.counted if each.id in theirs]
    if any(_gain(case) for case in both):
        lost = [case for case in both if _gain(case) < 0]
        gained = [case for case in both if _gain(case) > 0]
        of = f"of {counted(len(both), 'query', 'queries')} that both counted"
        yield _extreme("Lost most against the gallery's encoder", lost, _gain, of_each, f"{len(lost)} {of} lost")
        yield _extreme(
            "Gained most on the gallery's encoder",
            gained,
            lambda case: -_gain(case),
            of_each,
            f"{len(gained)} {of} gained",
        )
        return
    # Without a reference, or with one that did exactly as well.
    alone = [Case(each, theirs.get(each.id)) for each in measurement.counted]
    perfect = sum(case.result.average_precision == 1 for case in alone)
    yield _extreme(
        "Worst", [case for case in alone if _quality(case) < 1], _quality, of_each, f"of {len(alone)} queries"
    )
    yield _extreme(
        "Best", alone, lambda case: -_quality(case), of_each, f"{perfect} of {len(alone)} queries are perfect"
    )


def _extreme(title: str, cases: Sequence[Case], key: Callable[[Case], float], most: int, note: str) -> CaseList:
    """The first cases by a key, one for each instance."""
    chosen: dict[str, Case] = {}
    for case in sorted(cases, key=key):
        if len(chosen) == most:
            break
        # A query without an instance stands for itself.
        chosen.setdefault(case.result.instance or f"\0{case.result.id}", case)
    return CaseList(title, tuple(chosen.values()), f"{note}; at most one for each instance")


def _quality(case: Case) -> float:
    return case.result.average_precision or 0.0


def _gain(case: Case) -> float:
    # Rounded, so that equal gains stay in the order of the queries.
    return round(_quality(case) - ((case.reference and case.reference.average_precision) or 0.0), 9)


def _check(placed: Placed, asked: Sequence[str]) -> None:
    known = dict.fromkeys(each.id for measurement in placed.values() for each in measurement.results)
    for query in asked:
        if query not in known:
            near = get_close_matches(query, known, n=3, cutoff=0.4) or list(known)[:3]
            raise DataError(
                f"No measurement has a query {readable(query)!r}. Expected the id of one, such as {', '.join(map(readable, near))}."
            )
