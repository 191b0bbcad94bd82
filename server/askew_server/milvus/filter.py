"""Filters the items of a gallery in Milvus: by an expression alone where that is exact, else with the payloads of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from askew_client.contract.filters.conditions import Equals, Filter, OneOf, Range
from askew_client.contract.filters.field_paths import keys_of
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index.types import Allowed
from askew_server.milvus.conditions import compile_condition, has_any
from askew_server.milvus.reader import MilvusReader
from askew_server.milvus.tokens import exists_token, type_token
from askew_server.storage.filtering.filters import check_depth, check_types_of
from askew_server.storage.filtering.predicates import (
    TYPE_NAMES,
    FieldTypes,
    compares_dates,
    fields_of,
    leaves_of,
    predicate_of,
    read_payload,
)

MAX_SCANNED = 200_000
"""Payloads that are read from Milvus to evaluate one condition; some seconds."""


@dataclass(frozen=True)
class MilvusSelection:
    """An ItemSelection (storage/port.py) in Milvus. `condition`: what it was made from."""

    condition: Filter
    chosen: Allowed
    types: Mapping[str, FieldTypes] = field(default_factory=dict)

    @property
    def unknown_fields(self) -> list[str]:
        """The condition's fields that no item has, in the condition's order."""
        return [name for name, types in self.types.items() if not types.is_known]


class MilvusFilter:
    """An ItemFilter (storage/port.py). Any number of threads may use it: nothing is remembered, as others write too."""

    def __init__(self, reader: MilvusReader) -> None:
        self._reader = reader

    def select(self, condition: Filter, depth: int = 1, *, check_types: bool = True) -> MilvusSelection:
        """See PayloadFilter.select; also refuses (validation) a range that would have to be evaluated on too many items."""
        check_depth(condition, depth)
        if check_types:
            types = {name: self._types_of(name, condition) for name in fields_of(condition)}
            check_types_of(condition, types)
        else:
            types = {name: FieldTypes(self._is_known(name)) for name in fields_of(condition)}
        compiled = compile_condition(condition)
        if compiled.is_exact:
            return MilvusSelection(condition, compiled.expression, types)
        count = self._reader.count(compiled.expression)
        if count > MAX_SCANNED:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"This filter has a range, which this gallery evaluates item by item, on at most {MAX_SCANNED:,} items; here it "
                f"would be {count:,}. Add a condition with eq, in or exists (joined by and) that leaves fewer items.",
                {"items": count, "limit": MAX_SCANNED},
            )
        holds = predicate_of(condition)
        rows = self._reader.walk(compiled.expression, ["label", "payload"])
        labels = [row["label"] for row in rows if holds(read_payload(row["payload"]))]
        return MilvusSelection(condition, np.array(sorted(labels), dtype=np.int64), types)

    def _types_of(self, name: str, condition: Filter) -> FieldTypes:
        """What the items hold in a field, as far as the condition's values ask for it."""
        keys = keys_of(name)
        compared = _compared_types(name, condition)
        if compared and all(self._reader.is_any(has_any([type_token(keys, each)])) for each in compared):
            return FieldTypes(True, compared)
        if not self._is_known(name):
            return FieldTypes()
        names = [
            each
            for each in dict.fromkeys(TYPE_NAMES.values())
            if self._reader.is_any(has_any([type_token(keys, each)]))
        ]
        return FieldTypes(True, frozenset(names))

    def _is_known(self, name: str) -> bool:
        return self._reader.is_any(has_any([exists_token(keys_of(name))]))


def _compared_types(name: str, condition: Filter) -> frozenset[str]:
    """The types of the values that a field is compared with."""
    found: set[str] = set()
    for leaf in leaves_of(condition):
        if leaf.field != name:
            continue
        match leaf:
            case Equals(eq=value):
                found.add(TYPE_NAMES[type(value)])
            case OneOf(one_of=values):
                found.update(TYPE_NAMES[type(value)] for value in values)
            case Range(range=bounds):
                found.add("text" if compares_dates(bounds) else "number")
    return frozenset(found)
