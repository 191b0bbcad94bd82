"""The main segment of an index: immutable, compact, and stored with the figures measured when it was built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from askew_client.contract.indexes import IndexKind
from askew_server.index.masked import MaskedSegment, RowEngine
from askew_server.index.two_stage import CodedTail
from askew_server.index.types import MARGIN, Labels


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


class MainSegment(MaskedSegment):
    """A segment that covers every label up to a sequence number.

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
