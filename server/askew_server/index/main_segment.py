"""The main segment of an index: immutable, compact, and stored with the figures measured when it was built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from askew_client.contract.indexes import IndexKind
from askew_server.index.masked import EngineLost, MaskedSegment, RowEngine
from askew_server.index.two_stage import CodedTail
from askew_server.index.types import MARGIN, Answered, Found, Labels, Vectors


@dataclass(frozen=True)
class MainFacts:
    """Facts about a main segment.

    `sequence`: it covers every label up to this one. `exact_margins`: how many more than 10, and than 100, an exact
    search must fetch so that the true nearest are among them.
    """

    kind: IndexKind
    exact: bool
    sequence: int
    generation: int
    bytes_memory: int
    bytes_mapped: int
    k_factor: float | None = None
    recall_at_10: float | None = None
    exact_margins: tuple[int, int] = (MARGIN, MARGIN)


class FasterEngine(RowEngine, Protocol):
    """An engine in another process that holds the same rows, and may be lost at any moment (gpu/accelerated.py)."""

    kind: IndexKind
    used_cpu: bool
    """Set when the segment's own engine answered a part of a search."""

    @property
    def is_ready(self) -> bool:
        """Whether the next search may be asked of it. Never blocks."""


class MainSegment(MaskedSegment):
    """A segment that covers every label up to a sequence number.

    `faster`: an engine that is asked first while it is ready. Where it is lost, the segment's own engine answers.

    `state`: whether its files were verified or found damaged; the index manager sets it after verify_blocks (on_disk.py).
    """

    def __init__(
        self,
        engine: RowEngine,
        labels: Labels,
        facts: MainFacts,
        make_tail: Callable[[], CodedTail] | None,
        page_in: Callable[[], None] | None = None,
    ) -> None:
        """`make_tail` makes an empty segment with the same codebooks; None: new vectors stay uncoded."""
        super().__init__(engine, labels)
        self.facts = facts
        self._page_in = page_in
        self.state: Literal["ready", "unverified", "damaged"] = "ready"
        self._make_tail = make_tail
        self.faster: FasterEngine | None = None
        self.answered = self._own_answer

    @property
    def kind(self) -> IndexKind:
        """The kind of index that answers now."""
        faster = self._ready()
        return self.facts.kind if faster is None else faster.kind

    @property
    def exact(self) -> bool:
        """Whether every search finds the true nearest now."""
        faster = self._ready()
        return self.facts.exact or (faster is not None and faster.exact)

    def search(self, queries: Vectors, limit: int, allowed: Labels | None, exact: bool) -> Found:
        """See Segment. Afterwards, `answered` says which index gave the answer."""
        faster = self._ready()
        if faster is not None:
            faster.used_cpu = False
            try:
                found = self._search_with(faster, queries, limit, allowed, exact)
                self.answered = self._own_answer if faster.used_cpu else Answered(faster.kind, faster.exact)
                return found
            except EngineLost:
                pass
        self.answered = self._own_answer
        return super().search(queries, limit, allowed, exact)

    def new_tail(self) -> CodedTail | None:
        """An empty segment in memory with the same codebooks; None if new vectors stay uncoded."""
        return None if self._make_tail is None else self._make_tail()

    def page_in(self) -> None:
        """Read every memory-mapped page, so that no search waits for the disk. Any thread may call it."""
        if self._page_in is not None:
            self._page_in()

    def margin(self, limit: int, exact: bool) -> int:
        """How many more than `limit` to fetch, so that the best `limit` by exact score are among them."""
        if not exact:
            return MARGIN
        at_10, at_100 = self.facts.exact_margins
        # The larger the limit, the more vectors are about as far away as the last hit.
        grown = np.interp(limit, (10, 100), (at_10, at_100)) if limit <= 100 else at_100 * limit / 100
        return max(MARGIN, int(np.ceil(grown)))

    @property
    def _own_answer(self) -> Answered:
        return Answered(self.facts.kind, self.facts.exact)

    def _ready(self) -> FasterEngine | None:
        return self.faster if self.faster is not None and self.faster.is_ready else None
