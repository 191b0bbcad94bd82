"""The one way to filter a gallery's items, for searches, listings, counts and deletions alike.

predicates.py says what a condition means. Columns (payload_columns.py) evaluate it where they can hold its fields;
otherwise every payload is read. A label's payload never changes, so what was evaluated once stays right, and a later
write is taken into account by evaluating the labels after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from askew_client.contract.filters.conditions import MAX_DEPTH, AllOf, AnyOf, Equals, Filter, Not, OneOf, Range, Scalar
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.types import Labels
from askew_server.storage.filtering.payload_columns import PayloadColumns
from askew_server.storage.filtering.predicates import (
    TYPE_NAMES,
    FieldTypes,
    Scan,
    compares_dates,
    fields_of,
    leaves_of,
    scan,
)
from askew_server.storage.reader import GalleryReader

MAX_TESTS_IN_SCAN = 20_000_000
"""Conditions times payloads that are evaluated one by one; about five seconds."""

_SCANS_KEPT = 8


@dataclass(frozen=True)
class Selection:
    """The items that meet a condition.

    `labels`: ascending; deleted items may be among them. `through`: items with higher labels were not looked at.
    `types`: what the gallery holds in each of the condition's fields.
    """

    condition: Filter
    labels: Labels
    through: int
    types: Mapping[str, FieldTypes]

    @property
    def chosen(self) -> Labels:
        """The same labels, as every store's selection has them."""
        return self.labels

    @property
    def unknown_fields(self) -> list[str]:
        """The condition's fields that no item has, in the condition's order."""
        return [field for field, types in self.types.items() if not types.is_known]

    def continued(self, later: Scan) -> Selection:
        """With the items after `through`, which a scan has looked at. Raises Refusal (validation), as PayloadFilter."""
        types = {field: known | later.types[field] for field, known in self.types.items()}
        check_types_of(self.condition, types)
        labels = np.concatenate([self.labels, later.labels])
        return Selection(self.condition, labels, max(self.through, later.through), types)


class PayloadFilter:
    """Filters the items of one gallery. Used by the thread of its reader."""

    def __init__(self, reader: GalleryReader) -> None:
        self._reader = reader
        self._columns = PayloadColumns(reader)
        # By condition, with the sequence number: the pages of a listing ask for the same again.
        self._scans: dict[str, tuple[int, Selection]] = {}

    def select(self, condition: Filter, depth: int = 1, *, check_types: bool = True) -> Selection:
        """The items that meet a condition. `depth`: the level that the condition counts as.

        `check_types`: False for values that were read from items, which may be gone by now.

        Raises Refusal (validation) for a condition of more than 8 levels, for a value of a type that its field never
        has in this gallery (a field that no item has may be compared with any type), and for a condition of too many
        parts on fields that cannot be columns.
        """
        check_depth(condition, depth)
        fields = fields_of(condition)
        if self._columns.catch_up(fields):
            types = {field: self._columns.types_of(field) for field in fields}
            if check_types:
                check_types_of(condition, types)
            return Selection(condition, self._columns.labels(condition), self._columns.through, types)
        selection = self._scanned_before(condition) or self._scanned(condition)
        if check_types:
            check_types_of(condition, selection.types)
        return selection

    def _scanned_before(self, condition: Filter) -> Selection | None:
        sequence, selection = self._scans.get(repr(condition), (-1, None))
        return selection if sequence == self._reader.sequence else None

    def _scanned(self, condition: Filter) -> Selection:
        """As `select`, by reading every payload."""
        parts, items = len(leaves_of(condition)), self._reader.counts()[0]
        if parts > 1 and parts * items > MAX_TESTS_IN_SCAN:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"This filter has {parts} conditions and names more than 16 fields, or fields with too many different texts "
                f"to be kept in memory, so each of the {items} payloads would have to be read and tested. Use at most "
                f"{max(1, MAX_TESTS_IN_SCAN // items)} conditions, or fewer fields.",
                {"conditions": parts, "items": items},
            )
        # Read first: a scan that sees more than this is made again, and not used for too long.
        sequence = self._reader.sequence
        found = scan(self._reader.payloads_after(0), condition)
        selection = Selection(condition, found.labels, found.through, found.types)
        while len(self._scans) >= _SCANS_KEPT:
            del self._scans[next(iter(self._scans))]
        self._scans[repr(condition)] = sequence, selection
        return selection


def check_depth(condition: Filter, depth: int) -> None:
    """Raise Refusal (validation) for a condition of more than 8 levels."""
    if depth > MAX_DEPTH:
        raise Refusal(
            ProblemKind.VALIDATION,
            f"Expected a filter of at most {MAX_DEPTH} levels, got a deeper one. Use fewer levels of and, or and not.",
        )
    match condition:
        case AllOf(all_of=parts) | AnyOf(any_of=parts):
            for part in parts:
                check_depth(part, depth + 1)
        case Not(negated=negated):
            check_depth(negated, depth + 1)


def check_types_of(condition: Filter, types: Mapping[str, FieldTypes]) -> None:
    """Raise Refusal (validation) for a value of a type that its field never has."""
    for leaf in leaves_of(condition):
        seen = types[leaf.field].names
        if not seen:
            continue
        match leaf:
            case Equals(eq=value):
                _check_values(leaf.field, [value], seen)
            case OneOf(one_of=values):
                _check_values(leaf.field, values, seen)
            case Range(range=bounds):
                compared = "text" if compares_dates(bounds) else "number"
                if compared not in seen:
                    form = "dates, which compares texts" if compared == "text" else "numbers"
                    raise _mismatch(leaf.field, compared, f"a range of {form}", seen)


def _check_values(field: str, values: Sequence[Scalar], seen: frozenset[str]) -> None:
    for value in values:
        if TYPE_NAMES[type(value)] not in seen:
            raise _mismatch(field, TYPE_NAMES[type(value)], repr(value)[:80], seen)


def _mismatch(field: str, given_type: str, given: str, seen: frozenset[str]) -> Refusal:
    expected = " and ".join(sorted(seen))
    return Refusal(
        ProblemKind.VALIDATION,
        f"The filter compares field {field[:200]!r} with a {given_type} ({given}), but in this gallery the field holds "
        f"only {expected}. Types are not converted: send the value as {expected}, or store the field as {given_type}.",
        {"field": field, "expected": sorted(seen), "received": given_type},
    )
