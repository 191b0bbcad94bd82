"""Measurements as one matrix: pairs of encoders in rows, datasets, protocols and sets of queries in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from askew_training.errors import DataError
from askew_training.evaluate.comparison.labels import encoder_labels, row_label, settings_text
from askew_training.evaluate.comparison.record import TOGETHER, Column, Row
from askew_training.evaluate.measurement import Measurement, Side

FOREIGN_SPACE = "foreign_space"
"""The setting of measurements whose encoders describe in two spaces."""

_ORIGINS = frozenset({"distractor_vectors"})
"""Settings that say where something came from; they are no method, and name no row."""

Setting = str | float | bool
RowKey = tuple[str, str, tuple[tuple[str, Setting], ...]]
GroupKey = tuple[str, str, str, str, int, int]


@dataclass
class Matrix:
    """Rows, columns, and the measurement at each place (row, column): of the column's queries only.

    `encoders`: in the order in which they first occur. `row_of_each`: the row of each measurement, in their order.
    """

    encoders: list[Side] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    measured: dict[tuple[int, int], Measurement] = field(default_factory=dict)
    row_of_each: list[int] = field(default_factory=list)

    def row_of(self, wanted: str) -> int:
        """The first row of a label, or whose queries an encoder `name@version` describes. Raises DataError."""
        labels = encoder_labels(self.encoders)
        called = [[row.label for row in self.rows], [labels[row.queries] for row in self.rows]]
        called.append([self.encoders[row.queries].encoder for row in self.rows])
        for names in called:
            if wanted in names:
                return names.index(wanted)
        known = ", ".join(repr(row.label) for row in self.rows)
        raise DataError(f"Expected a baseline among the compared pairs, got {wanted!r}. There are: {known}.")


def matrix_of(measurements: Sequence[Measurement]) -> Matrix:
    """Arrange measurements, in their order.

    Settings that are the same in all measurements of a dataset belong to its columns, the others to the rows. Measurements of
    galleries of different sizes are in different columns. Raises DataError for none, for two different measurements of one
    place, and for one without a query that counts.
    """
    if not measurements:
        raise DataError("Expected at least one measurement, got none.")
    for each in measurements:
        if not each.counted:
            raise DataError(
                f"The measurement of {each.queries.encoder} on {each.dataset} ({each.protocol}) has no query with a positive."
            )
    matrix = rows_of(measurements)
    groups = _groups(measurements)
    of_rows = _settings_of_rows(groups)
    row_of = {id(each): row for each, row in zip(measurements, matrix.row_of_each, strict=True)}
    for group in groups:
        _add_columns(matrix, group, row_of, of_rows)
    return matrix


def rows_of(measurements: Sequence[Measurement]) -> Matrix:
    """The encoders and rows of `matrix_of`, which depend on no result: the measurements may still be without any."""
    of_rows = _settings_of_rows(_groups(measurements))
    matrix = Matrix()
    encoders: dict[str, int] = {}
    rows: dict[RowKey, int] = {}
    for each in measurements:
        for side in (each.queries, each.gallery):
            if side.sha256 not in encoders:
                encoders[side.sha256] = len(matrix.encoders)
                matrix.encoders.append(side)
    labels = encoder_labels(matrix.encoders)
    for each in measurements:
        key = _row(each, of_rows)
        if key not in rows:
            rows[key] = len(matrix.rows)
            queries, gallery = encoders[each.queries.sha256], encoders[each.gallery.sha256]
            settings = dict(key[2])
            matrix.rows.append(
                Row(
                    label=row_label(labels[queries], labels[gallery], settings),
                    queries=queries,
                    gallery=gallery,
                    kind=each.kind,
                    settings=settings,
                )
            )
        matrix.row_of_each.append(rows[key])
    return matrix


def _groups(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Measurements of the same thing, in the order of the first of each."""
    groups: dict[GroupKey, list[Measurement]] = {}
    for each in measurements:
        groups.setdefault(_group(each), []).append(each)
    return list(groups.values())


def _group(each: Measurement) -> GroupKey:
    return (each.dataset, each.protocol, each.average_precision, each.metric, each.gallery_photos, each.distractors)


def _row(each: Measurement, of_rows: set[str]) -> RowKey:
    settings = tuple((name, value) for name, value in sorted(each.settings.items()) if name in of_rows)
    return each.queries.sha256, each.gallery.sha256, settings


def _settings_of_rows(groups: Iterable[list[Measurement]]) -> set[str]:
    """The names of settings that differ between measurements of the same thing."""
    varying = {FOREIGN_SPACE}
    for group in groups:
        for name in {name for each in group for name in each.settings} - _ORIGINS:
            if len({str(each.settings.get(name)) for each in group}) > 1:
                varying.add(name)
    return varying


def _add_columns(matrix: Matrix, group: list[Measurement], row_of: dict[int, int], of_rows: set[str]) -> None:
    sets = list(dict.fromkeys(name for each in group for name in each.sets))
    for set_name in [TOGETHER, *(sets if len(sets) > 1 else [])]:
        column = len(matrix.columns)
        queries: dict[str, str] = {}
        for each in group:
            part = each if set_name == TOGETHER else each.of_set(set_name)
            if not part.counted:
                continue
            place = row_of[id(each)], column
            if matrix.measured.setdefault(place, part).results != part.results:
                raise DataError(_twice(matrix.rows[place[0]], each))
            queries |= {query.id: query.instance for query in part.counted}
        if not queries:
            continue
        first = group[0]
        matrix.columns.append(
            Column(
                dataset=first.dataset,
                protocol=first.protocol,
                set_name=set_name,
                metric=first.metric,
                queries=len(queries),
                instances=len(set(queries.values())),
                gallery_photos=first.gallery_photos,
                distractors=first.distractors,
                average_precision=first.average_precision,
                settings={name: value for name, value in first.settings.items() if name not in of_rows},
            )
        )


def _twice(row: Row, each: Measurement) -> str:
    settings = f", {settings_text(each.settings)}" if each.settings else ""
    return (
        f"There are two different measurements of {row.label} on {each.dataset} ({each.protocol}{settings}). "
        "Expected one: leave out the one that is out of date."
    )
