"""One search: the index finds labels, the database adds ids and payloads; repeated until the hits are complete."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from askew_client.contract.field_paths import keys_of
from askew_client.contract.filters import AllOf, Exists, Filter, Not, OneOf, Scalar
from askew_client.contract.search import SearchOptions
from askew_server.gallery.ranking import Choice, FoundItem, Groups, items_of
from askew_server.index.port import VectorIndex
from askew_server.index.types import Labels, Neighbours, Vectors
from askew_server.storage.filters import PayloadFilter
from askew_server.storage.reader import GalleryReader

Result = TypeVar("Result")

QUERIES_AT_ONCE = 16
"""Queries of a batch that one index call answers; other requests get their turn between two calls."""

_MAX_READ_IN_LOOP = 48
"""Ids and payloads of up to this many items are read on the event loop, in a fraction of a millisecond."""

_WIDENING = 4
"""The factor by which more items are fetched if the first ones do not complete the hits."""


class ReadInThread(Protocol):
    """Runs a read on the gallery's reading thread."""

    def __call__(self, task: Callable[[GalleryReader, PayloadFilter], Result]) -> Awaitable[Result]:
        """The result of the read. Raises Refusal (overloaded)."""


@dataclass(slots=True)
class SearchResult:
    """The hits of each query, the index that found them, and how long each stage took.

    `stages`: name, begin and end in seconds of `time.perf_counter`. `together`: how many queries one index call answered.
    `unknown_fields`: those of the filter's fields, and of `group_by`, that no item of the gallery has.
    """

    hits: list[list[FoundItem]] = field(default_factory=list)
    index: str = ""
    exact: bool = True
    stages: list[tuple[Literal["queue", "search", "finish"], float, float]] = field(default_factory=list)
    together: int = 0
    unknown_fields: list[str] = field(default_factory=list)

    def record(self, asked: float, found: Neighbours) -> None:
        """Record one index search."""
        self.index, self.exact, self.together = found.index, found.exact, found.together
        self.stages += [("queue", asked, found.began), ("search", found.began, found.ended)]


class GallerySearch:
    """Searches one gallery. Ids and payloads of a few items are read on the event loop, of more on the reading thread."""

    def __init__(self, index: VectorIndex, loop_reader: GalleryReader, read_in_thread: ReadInThread) -> None:
        """`loop_reader`: used only on the event loop."""
        self._index = index
        self._loop_reader = loop_reader
        self._read_in_thread = read_in_thread

    async def run(self, vectors: Vectors, options: SearchOptions, threshold: float | None) -> SearchResult:
        """The hits of each query, float32 [n, D] of unit length. `threshold` replaces the one in the options.

        Raises Refusal: overloaded, validation for a filter.
        """
        choice = Choice(options.limit, threshold, frozenset(options.exclude))
        result = SearchResult()
        if options.group_by is not None:
            for vector in vectors:
                groups = Groups(keys_of(options.group_by), choice, options.group_size)
                result.hits.append(await self._grouped(vector[None], groups, options, result))
            return result
        allowed = None if options.filter is None else await self._allowed(options.filter, result)
        for start in range(0, len(vectors), QUERIES_AT_ONCE):
            part = vectors[start : start + QUERIES_AT_ONCE]
            result.hits += await self._hits(part, choice, allowed, options, result)
        return result

    async def _allowed(
        self, condition: Filter, result: SearchResult, *, depth: int = 1, check_types: bool = True
    ) -> Labels:
        """The labels of the items that meet a condition, ascending. Raises Refusal (validation)."""
        selection = await self._read_in_thread(
            lambda _, payload_filter: payload_filter.select(condition, depth, check_types=check_types)
        )
        result.unknown_fields = selection.unknown_fields
        return selection.labels

    async def _hits(
        self, vectors: Vectors, choice: Choice, allowed: Labels | None, options: SearchOptions, result: SearchResult
    ) -> list[list[FoundItem]]:
        answers: list[list[FoundItem]] = [[] for _ in vectors]
        pending, wanted = list(range(len(vectors))), choice.wanted
        while pending:
            queries = vectors if len(pending) == len(vectors) else vectors[pending]
            items, saw_all = await self._items(queries, wanted, allowed, options, result)
            incomplete = []
            for position, found, is_all in zip(pending, items, saw_all, strict=True):
                hits = answers[position] = choice.hits(found)
                if not is_all and not choice.is_complete(found, hits):
                    incomplete.append(position)
            pending, wanted = incomplete, _WIDENING * wanted
        return answers

    async def _grouped(
        self, vector: Vectors, groups: Groups, options: SearchOptions, result: SearchResult
    ) -> list[FoundItem]:
        """The groups nearest to one query, float32 [1, D]. Each search looks only among values not found before."""
        field_path = options.group_by or ""
        conditions: list[Filter] = [Exists(field=field_path, exists=True)]
        if options.filter is not None:
            conditions.append(options.filter)
        wanted = _WIDENING * groups.choice.wanted
        while not groups.is_full:
            others = [Not.model_construct(negated=_one_of(field_path, groups.values))] if groups.values else []
            allowed = await self._allowed(
                AllOf.model_construct(all_of=[*conditions, *others]), result, depth=0, check_types=not others
            )
            (items,), (saw_all,) = await self._items(vector, wanted, allowed, options, result)
            before = len(groups.values)
            groups.take(items)
            if saw_all or (items and groups.choice.threshold is not None and items[-1].score < groups.choice.threshold):
                break
            if len(groups.values) == before:
                wanted *= _WIDENING
        if groups.size > 1 and groups.open_values:
            members = AllOf.model_construct(all_of=[*conditions, _one_of(field_path, groups.open_values)])
            allowed = await self._allowed(members, result, depth=0, check_types=False)
            wanted, saw_all = len(groups.open_values) * groups.size, False
            while groups.open_values and not saw_all:
                (items,), (saw_all,) = await self._items(vector, wanted, allowed, options, result)
                groups.take(items)
                wanted *= _WIDENING
        return groups.hits()

    async def _items(
        self, vectors: Vectors, wanted: int, allowed: Labels | None, options: SearchOptions, result: SearchResult
    ) -> tuple[list[list[FoundItem]], list[bool]]:
        """The ranked items of each query, and whether these are all items that the search could find."""
        asked = time.perf_counter()
        found = await self._index.search(vectors, wanted, allowed, options.exact)
        result.record(asked, found)
        if len(vectors) * wanted <= _MAX_READ_IN_LOOP:
            items = items_of(self._loop_reader, vectors, found, with_vectors=options.with_vectors)
        else:
            items = await self._read_in_thread(
                lambda reader, _: items_of(reader, vectors, found, with_vectors=options.with_vectors)
            )
        result.stages.append(("finish", found.ended, time.perf_counter()))
        return items


def _one_of(field_path: str, values: list[Scalar]) -> Filter:
    return OneOf.model_construct(field=field_path, one_of=values)
