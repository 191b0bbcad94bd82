"""One search: the index finds labels, the database adds ids and scores; repeated until the hits are complete.

Payloads are read for the hits alone, and only after their bytes were counted (answer_size.py). Where the payloads of all
items found are small, they are read together with the ids, which saves a query.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from askew_client.contract.filters.conditions import AllOf, Exists, Filter, Not, OneOf, Scalar
from askew_client.contract.filters.field_paths import keys_of
from askew_client.contract.search import SearchOptions
from askew_server.gallery.answer_size import AnswerSize, NoRoom
from askew_server.gallery.payload_fields import selected_fields
from askew_server.gallery.ranking import (
    Choice,
    FoundItem,
    Groups,
    GroupValues,
    NoPayloads,
    PayloadsTooLarge,
    Reading,
    SmallPayloads,
    items_of,
)
from askew_server.index.port import VectorIndex
from askew_server.index.types import Allowed, Neighbours, Vectors
from askew_server.storage.errors import ValueTooLarge
from askew_server.storage.port import ItemFilter, ItemReader
from askew_server.storage.reader import GalleryReader

Result = TypeVar("Result")

QUERIES_AT_ONCE = 16
"""Queries of a batch that one index call answers; other requests get their turn between two calls."""

_QUERIES_ON_GPU = 64
"""The same once a GPU answered the first of them: it reads all vectors as often for 16 queries as for 64."""

_MAX_READ_IN_LOOP = 48
"""Ids and payloads of up to this many items are read on the event loop, in a fraction of a millisecond."""

_MAX_BYTES_IN_LOOP = 256 * 1024
"""Payloads of more bytes are read on the reading thread."""

_LARGEST_IN_LOOP = 64 * 1024
"""A single payload of more bytes is not read on the event loop."""

_MAX_BYTES_AHEAD = 4 * 1024 * 1024
"""Payloads of more bytes are read only once it is known which items are hits."""

_BYTES_OF_A_HIT = len('{"id":"","score":0.123456,"payload":},')
_BYTES_OF_A_VECTOR = len(',"vector":"","dtype":"f16le"')
_BYTES_OF_A_GROUP = len(',"group":""')

_WIDENING = 4
"""The factor by which more items are fetched if the first ones do not complete the hits."""


class ReadInThread(Protocol):
    """Runs a read on the gallery's reading thread."""

    def __call__(self, task: Callable[[ItemReader, ItemFilter], Result]) -> Awaitable[Result]:
        """The result of the read. Raises Refusal (overloaded)."""


@dataclass(slots=True)
class SearchResult:
    """The hits of each query, the index that found them last, and how long each stage took.

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
        self.index, self.together = found.index, found.together
        # A GPU may be lost between two searches for one answer.
        self.exact = self.exact and found.exact
        self.stages += [("queue", asked, found.began), ("search", found.began, found.ended)]


class GallerySearch:
    """Searches one gallery. Ids and payloads of a few items are read on the event loop, of more on the reading thread."""

    def __init__(self, index: VectorIndex, loop_reader: GalleryReader | None, read_in_thread: ReadInThread) -> None:
        """`loop_reader`: used only on the event loop; None: everything is read on the reading threads."""
        self._index = index
        self._loop_reader = loop_reader
        self._read_in_thread = read_in_thread
        if loop_reader is not None:
            loop_reader.refuse_values_beyond(_LARGEST_IN_LOOP)

    async def run(
        self, vectors: Vectors, options: SearchOptions, threshold: float | None, size: AnswerSize
    ) -> SearchResult:
        """The hits of each query, float32 [n, D] of unit length. `threshold` replaces the one in the options.

        Raises Refusal: overloaded, answer-too-large, validation for a filter.
        """
        choice = Choice(options.limit, threshold, frozenset(options.exclude))
        result = SearchResult()
        if options.group_by is not None:
            for position, vector in enumerate(vectors):
                groups = Groups(choice, options.group_size)
                hits = [await self._grouped(vector[None], groups, options, result, size)]
                result.hits += await self._counted_with_room(hits, options, size, (position, len(vectors)))
            return result
        allowed = None if options.filter is None else await self._allowed(options.filter, result)
        while (start := len(result.hits)) < len(vectors):
            count = _QUERIES_ON_GPU if result.index == "gpu-exact" else QUERIES_AT_ONCE
            hits = await self._hits(vectors[start : start + count], choice, allowed, options, result)
            result.hits += await self._counted_with_room(hits, options, size, (start, len(vectors)))
        return result

    async def _allowed(
        self, condition: Filter, result: SearchResult, *, depth: int = 1, check_types: bool = True
    ) -> Allowed:
        """The items that meet a condition. Raises Refusal (validation)."""
        selection = await self._read_in_thread(
            lambda _, payload_filter: payload_filter.select(condition, depth, check_types=check_types)
        )
        result.unknown_fields = selection.unknown_fields
        return selection.chosen

    async def _hits(
        self, vectors: Vectors, choice: Choice, allowed: Allowed | None, options: SearchOptions, result: SearchResult
    ) -> list[list[FoundItem]]:
        answers: list[list[FoundItem]] = [[] for _ in vectors]
        pending, wanted = list(range(len(vectors))), choice.wanted
        while pending:
            queries = vectors if len(pending) == len(vectors) else vectors[pending]
            ahead = options.with_payload is not False
            items, saw_all = await self._items(queries, wanted, allowed, options, result, ahead=ahead)
            incomplete = []
            for position, found, is_all in zip(pending, items, saw_all, strict=True):
                hits = answers[position] = choice.hits(found)
                if not is_all and not choice.is_complete(found, hits):
                    incomplete.append(position)
            pending, wanted = incomplete, _WIDENING * wanted
        return answers

    async def _grouped(
        self, vector: Vectors, groups: Groups, options: SearchOptions, result: SearchResult, size: AnswerSize
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
            items, saw_all = await self._group_items(vector, wanted, allowed, options, result, size)
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
                items, saw_all = await self._group_items(vector, wanted, allowed, options, result, size)
                groups.take(items)
                wanted *= _WIDENING
        return groups.hits()

    async def _items(
        self,
        vectors: Vectors,
        wanted: int,
        allowed: Allowed | None,
        options: SearchOptions,
        result: SearchResult,
        *,
        ahead: bool,
    ) -> tuple[list[list[FoundItem]], list[bool]]:
        """The ranked items of each query, and whether these are all items that the search could find.

        `ahead`: read their payloads, too, if they are small.
        """
        asked = time.perf_counter()
        found = await self._index.search(vectors, wanted, allowed, options.exact)
        result.record(asked, found)
        items = None
        if self._loop_reader is not None and len(vectors) * wanted <= _MAX_READ_IN_LOOP:
            try:
                reading = SmallPayloads(_MAX_BYTES_IN_LOOP, at_once=True) if ahead else NoPayloads()
                items = items_of(self._loop_reader, vectors, found, reading, with_vectors=options.with_vectors)
            except (PayloadsTooLarge, ValueTooLarge):
                ahead = False
        if items is None:
            items = await self._read_in_thread(lambda reader, _: _read(reader, vectors, found, options, ahead=ahead))
        result.stages.append(("finish", found.ended, time.perf_counter()))
        return items

    async def _group_items(
        self,
        vector: Vectors,
        wanted: int,
        allowed: Allowed,
        options: SearchOptions,
        result: SearchResult,
        size: AnswerSize,
    ) -> tuple[list[FoundItem], bool]:
        """The ranked items of one query, float32 [1, D], with their values of the grouping field."""
        asked = time.perf_counter()
        found = await self._index.search(vector, wanted, allowed, options.exact)
        result.record(asked, found)
        values = GroupValues(keys_of(options.group_by or ""), size.limit)
        try:
            (items,), (saw_all,) = await self._read_in_thread(
                lambda reader, _: items_of(reader, vector, found, values, with_vectors=options.with_vectors)
            )
        except PayloadsTooLarge:
            raise size.too_large(1.0, size.limit + 1) from None
        result.stages.append(("finish", found.ended, time.perf_counter()))
        return items, saw_all

    async def _counted_with_room(
        self, hits: list[list[FoundItem]], options: SearchOptions, size: AnswerSize, place: tuple[int, int]
    ) -> list[list[FoundItem]]:
        """Like `_counted`, after a while if there is no room yet."""
        counted = size.bytes
        while True:
            try:
                return await self._counted(hits, options, size, place)
            except NoRoom:
                # Their payloads are not held while they wait; they are read again.
                hits = [[hit._replace(payload=None) for hit in each] for each in hits]
                if not await size.wait_for_room(counted):
                    raise

    async def _counted(
        self, hits: list[list[FoundItem]], options: SearchOptions, size: AnswerSize, place: tuple[int, int]
    ) -> list[list[FoundItem]]:
        """Hits of consecutive queries with the payloads that are asked for, once the answer has room for them.

        `place`: how many queries were counted before, of how many. Raises Refusal (answer-too-large, overloaded).
        """
        shown = options.with_payload
        before, queries = place
        if shown is True and not options.with_vectors and options.group_by is None:
            count = _plain_bytes(hits)
            if count is not None:
                size.take(count, (before + len(hits)) / queries)
                return hits
        is_read = all(hit.payload is not None for each in hits for hit in each)
        if shown is True and is_read:
            _count(hits, size, place)
            return hits
        if shown is False:
            hits = [[hit._replace(payload=b"") for hit in each] for each in hits]
            _count(hits, size, place)
            return hits
        if is_read and sum(len(hit.payload or b"") for each in hits for hit in each) <= _MAX_BYTES_IN_LOOP:
            hits = [[hit._replace(payload=_shown(hit.payload or b"{}", shown)) for hit in each] for each in hits]
            _count(hits, size, place)
            return hits
        return await self._read_in_thread(lambda reader, _: _with_payloads(reader, hits, options, size, place))


def _read(
    reader: ItemReader, vectors: Vectors, found: Neighbours, options: SearchOptions, *, ahead: bool
) -> tuple[list[list[FoundItem]], list[bool]]:
    """See GallerySearch._items."""
    readings: list[Reading] = (
        [SmallPayloads(_MAX_BYTES_AHEAD, at_once=False), NoPayloads()] if ahead else [NoPayloads()]
    )
    *first, last = readings
    for reading in first:
        try:
            return items_of(reader, vectors, found, reading, with_vectors=options.with_vectors)
        except (PayloadsTooLarge, ValueTooLarge):
            continue
    return items_of(reader, vectors, found, last, with_vectors=options.with_vectors)


def _with_payloads(
    reader: ItemReader,
    hits: list[list[FoundItem]],
    options: SearchOptions,
    size: AnswerSize,
    place: tuple[int, int],
) -> list[list[FoundItem]]:
    """See GallerySearch._counted. A payload is counted before the next one is read, and each is read once."""
    uses = Counter(hit.label for each in hits for hit in each)
    before, queries = place
    shown: dict[int, bytes] = {}
    size.take(sum(_bytes_beside(hit) for each in hits for hit in each), (before + len(hits)) / queries)
    with closing(reader.each_candidate(list(uses), payloads=True, vectors=False)) as candidates:
        for number, (label, _, payload, _) in enumerate(candidates, start=1):
            text = _shown(payload, options.with_payload)
            size.take(uses[label] * len(text), (before + len(hits) * number / len(uses)) / queries)
            shown[label] = text
    # An item that was deleted since the search is no hit any more.
    return [[hit._replace(payload=shown[hit.label]) for hit in each if hit.label in shown] for each in hits]


def _count(hits: list[list[FoundItem]], size: AnswerSize, place: tuple[int, int]) -> None:
    """Count the bytes of hits whose payloads were read. Raises Refusal (answer-too-large, overloaded)."""
    before, queries = place
    for number, each in enumerate(hits, start=1):
        size.take(sum(_bytes_beside(hit) + len(hit.payload or b"") for hit in each), (before + number) / queries)


def _plain_bytes(hits: list[list[FoundItem]]) -> int | None:
    """The bytes of hits without vectors and groups; None if a payload was not read. Most searches end here."""
    count = 0
    for each in hits:
        try:
            count += sum([len(payload) for _, _, _, payload, _, _ in each])  # type: ignore[arg-type, misc]
        # Cheaper than to ask each of a thousand.
        except TypeError:
            return None
        ids = [item_id if item_id.isascii() else item_id.encode() for _, item_id, _, _, _, _ in each]
        count += _BYTES_OF_A_HIT * len(each) + sum(map(len, ids))
    return count


def _bytes_beside(hit: FoundItem) -> int:
    """The bytes of a hit in an answer, without its payload."""
    count = _BYTES_OF_A_HIT + len(hit.id.encode())
    if hit.vector:
        count += _BYTES_OF_A_VECTOR + (len(hit.vector) + 2) // 3 * 4
    if hit.group is not None:
        count += _BYTES_OF_A_GROUP + (len(hit.group.encode()) if isinstance(hit.group, str) else len(str(hit.group)))
    return count


def _shown(payload: bytes, fields: bool | Sequence[str]) -> bytes:
    return payload if isinstance(fields, bool) else selected_fields(payload, fields)


def _one_of(field_path: str, values: list[Scalar]) -> Filter:
    return OneOf.model_construct(field=field_path, one_of=values)
