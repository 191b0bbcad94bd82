"""Chosen queries as the page shows them: each picture, its mark and its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from askew_training.evaluate.comparison.record import Comparison
from askew_training.evaluate.measurement import QueryResult, Relevance
from askew_training.evaluate.reporting.cases import Case, CaseGroup
from askew_training.evaluate.reporting.results import dataset_name
from askew_training.evaluate.reporting.thumbnails import Thumbnail, Thumbnails
from askew_training.evaluate.reporting.wording import counted, ordinal, percent

TILES = 10
_MARKS: dict[Relevance, str] = {"right": "✓", "wrong": "✗", "junk": "–"}


@dataclass(frozen=True)
class TileView:
    """A photo that was found."""

    id: str
    thumbnail: Thumbnail
    relevance: Relevance
    mark: str
    score: str
    alt: str


@dataclass(frozen=True)
class StripView:
    """The head of one ranking. `quality`: its average precision in words."""

    label: str
    quality: str
    tiles: tuple[TileView, ...]


@dataclass(frozen=True)
class CaseView:
    """A query with one ranking, or with two to compare."""

    id: str
    instance: str
    facts: str
    thumbnail: Thumbnail
    strips: tuple[StripView, ...]


@dataclass(frozen=True)
class ListView:
    """Some cases below one heading; the first list of a page is open."""

    title: str
    note: str
    is_open: bool
    cases: tuple[CaseView, ...]


@dataclass(frozen=True)
class GroupView:
    """All cases of one measurement."""

    title: str
    lists: tuple[ListView, ...]


def view_groups(comparison: Comparison, groups: Sequence[CaseGroup], thumbnails: Thumbnails) -> list[GroupView]:
    """Turn chosen cases into what the template prints; makes their thumbnails."""
    views = []
    for number, group in enumerate(groups):
        column = comparison.columns[group.column]
        against = f", compared with {group.reference_label}" if group.reference_label else ""
        title = f"{group.row + 1}: {group.label}, {dataset_name(column, comparison.columns)} {column.protocol}{against}"
        pictures = partial(thumbnails.of, dataset=column.dataset)
        lists = tuple(
            ListView(each.title, each.note, number == 0, tuple(_case(case, group, pictures) for case in each.cases))
            for each in group.lists
        )
        views.append(GroupView(title, lists))
    return views


def _case(case: Case, group: CaseGroup, picture_of: Callable[[str], Thumbnail]) -> CaseView:
    strips = [_strip(group.label, case.result, picture_of)]
    if case.reference is not None:
        strips.append(_strip(group.reference_label, case.reference, picture_of))
    positives = counted(case.result.positives, "match", "matches")
    return CaseView(
        id=case.result.id,
        instance=case.result.instance,
        facts=f"{positives} in the gallery",
        thumbnail=picture_of(case.result.id),
        strips=tuple(strips),
    )


def _strip(label: str, result: QueryResult, picture_of: Callable[[str], Thumbnail]) -> StripView:
    quality = (
        "not counted, because it has no match"
        if result.average_precision is None
        else f"AP {percent(result.average_precision)}"
    )
    tiles = tuple(
        TileView(
            id=each.id,
            thumbnail=picture_of(each.id),
            relevance=each.relevance,
            mark=_MARKS[each.relevance],
            score=f"{each.score:.3f}".replace("-", "−"),
            alt=f"{ordinal(place)}, {each.relevance}: {each.id}",
        )
        for place, each in enumerate(result.first[:TILES], 1)
    )
    return StripView(label, quality, tiles)
