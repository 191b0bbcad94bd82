"""A gallery's index that a test can keep busy, and that counts the queries it was searched for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from askew_client.contract.indexes import WantedKind
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.index_manager import bring_up_to_date
from askew_server.index.planning import estimate
from askew_server.index.port import BuildCancelled, Report
from askew_server.index.search_thread import SearchThread
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import Allowed, IndexStatistics, IndexStatus, Labels, Neighbours, Vectors, labels_of
from askew_server.storage.items import SqliteItemStore


class CountingIndex(SegmentedIndex):
    """`searched`: how many queries it was searched for."""

    searched = 0

    def search(self, queries: Vectors, limit: int, allowed: Labels | None = None, exact: bool = False) -> Labels:
        self.searched += len(queries)
        return super().search(queries, limit, allowed, exact)


class HeldIndex:
    """A VectorIndex in memory that is always exact. Given to `Catalog(open_index=HeldIndex)`."""

    def __init__(self, gallery: str, store: SqliteItemStore, dim: int) -> None:
        self._dim = dim
        self._index = CountingIndex(dim)
        bring_up_to_date(self._index, store, dim)
        self._searches = SearchThread(self._index, gallery)
        self._released = threading.Event()
        self._rebuilt = 0

    @property
    def searched(self) -> int:
        return self._index.searched

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Searches wait for as long as this lasts."""
        self._released.clear()
        began = threading.Event()

        def hold(_: SegmentedIndex) -> None:
            began.set()
            self._released.wait(60)

        with ThreadPoolExecutor(1) as holder:
            holding = holder.submit(self._searches.change, hold)
            assert began.wait(60)
            try:
                yield
            finally:
                self._released.set()
                holding.result()

    async def search(self, vectors: Vectors, wanted: int, allowed: Allowed | None, exact: bool) -> Neighbours:
        labels = None if allowed is None else labels_of(allowed)
        return await self._searches.search(vectors, wanted, labels, exact)

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        return self._searches.search_blocking(vectors, wanted)

    def add(self, labels: Labels, vectors: Vectors) -> None:
        self._searches.change(lambda index: index.add(labels, vectors))

    def remove(self, labels: Labels) -> None:
        self._searches.change(lambda index: index.remove(labels))

    def statistics(self) -> IndexStatistics:
        return self._searches.change(SegmentedIndex.statistics)

    def status(self) -> IndexStatus:
        takes = estimate("exact", self.statistics().vectors, self._dim)
        return IndexStatus("exact", "exact", takes, is_building=False, failure=None)

    def choose(self, kind: WantedKind) -> None:
        self.require_ready()
        if kind not in {"exact", "auto"}:
            raise Refusal(ProblemKind.VALIDATION, f"Expected the kind exact, got {kind}: this index has no other.")

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        statistics = self.statistics()
        if cancelled():
            raise BuildCancelled("The build was cancelled before it began. The index is as it was before.")
        report(1, 1)
        self._rebuilt += 1
        return statistics

    @property
    def is_building(self) -> bool:
        return False

    @property
    def rebuilds(self) -> Mapping[str, int]:
        return {"ok": self._rebuilt, "failed": 0}

    def require_ready(self) -> None:
        self._searches.require_open()

    def close(self) -> None:
        self._released.set()
        self._searches.close()
