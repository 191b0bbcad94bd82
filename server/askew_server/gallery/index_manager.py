"""The index of one gallery from opening to closing: brought up to date, changed, verified, rebuilt.

What is slow happens on one background thread, one thing at a time: never are there two builds. Searches continue
during a build. The saved index is derived: one that is missing or damaged is built from the database, and until then
every vector is compared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from askew_client.contract.indexes import WantedKind
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.index.build import Progress
from askew_server.index.build_process import build_in_child
from askew_server.index.faiss_library import gpu_count, import_faiss
from askew_server.index.gpu import load_on_gpu
from askew_server.index.main_segment import MainSegment
from askew_server.index.on_disk import VerifyStep, open_main, remove_old, verify_blocks
from askew_server.index.planning import chosen_kind, estimate, free_memory, refuse_too_large
from askew_server.index.port import BuildCancelled, Report, VectorIndex
from askew_server.index.record import RECORD
from askew_server.index.search_thread import SearchThread
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import CodedKind, Estimate, IndexStatistics, IndexStatus, Labels, Neighbours, Vectors
from askew_server.storage.items import ItemStore
from askew_server.storage.reader import GalleryReader
from askew_server.storage.vector_source import SqliteVectorSource

WANTED_KIND = "index_kind"
"""The fact that holds the kind of index that was asked for."""

_SHARE_OF_MEMORY = 0.8
_SECONDS_BEFORE_NEXT_TRY = 600.0
_ADDED_AT_ONCE = 64
"""Coding this many vectors for the tail takes about as long as a search, and searches take their turn in between."""

_BUILDS_IN_A_ROW = 3
_VERIFIED_AT_ONCE = 16
_PAUSE_SECONDS = 0.02


OpenIndex = Callable[[str, ItemStore, int], VectorIndex]
"""Opens the index of a gallery: its name, its store, the components of its vectors."""


def open_index(gallery: str, store: ItemStore, dim: int) -> VectorIndex:
    """The index of a gallery, brought up to date with its database. Raises EngineMissing."""
    return IndexManager(gallery, store, dim)


class IndexManager:
    """A VectorIndex of FAISS: the saved index, the thread that searches it, and its rebuilds."""

    def __init__(
        self,
        gallery: str,
        store: ItemStore,
        dim: int,
        *,
        verify: Callable[[Path], Iterable[VerifyStep]] = verify_blocks,
    ) -> None:
        """Open what is saved in the gallery's folder, and bring it up to date with its database. Raises EngineMissing.

        `verify`: reads the saved files again, step by step.
        """
        self._dim = dim
        self._store = store
        self._folder = store.folder
        self._saved = store.folder / "index"
        self._verify_saved = verify
        self._log = logging.getLogger(f"askew.index.{gallery}")
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self._background = ThreadPoolExecutor(1, f"index-{gallery}")
        self._rebuild: Future[None] | None = None
        self._not_before = 0.0
        self._failure: str | None = None
        self._rebuilds = {"ok": 0, "failed": 0}
        opened = open_main(self._saved, dim)
        if opened.damage is not None:
            self._log.error("%s It is rebuilt.", opened.damage)
        index = SegmentedIndex(dim, opened.main, _wanted(store))
        self._is_whole = opened.main is not None or self._fits_in_memory(store.counts()[0])
        if self._is_whole:
            bring_up_to_date(index, store, dim)
        self._searches = SearchThread(index, gallery)
        remove_old(self._saved)
        if opened.main is not None:
            self._background.submit(self._verify, opened.main)
        self._consider(self._searches.change(SegmentedIndex.wants_rebuild))

    async def search(self, vectors: Vectors, wanted: int, allowed: Labels | None, exact: bool) -> Neighbours:
        """See VectorIndex."""
        return await self._searches.search(vectors, wanted, allowed, exact)

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        """See VectorIndex."""
        return self._searches.search_blocking(vectors, wanted)

    def require_ready(self) -> None:
        """Raise Refusal (not-ready) while the saved index is lost and comparing every vector takes too much memory."""
        if not self._is_whole:
            raise Refusal(
                ProblemKind.NOT_READY,
                "The saved index of this gallery was lost and is being rebuilt from its database. Nothing else was lost; try "
                "again in a minute.",
                retry_after=60,
            )

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """See VectorIndex; a few vectors at a time, so that searches take their turn in between."""
        reason = None
        with self._changing:
            for start in range(0, len(labels), _ADDED_AT_ONCE):
                part = slice(start, start + _ADDED_AT_ONCE)
                reason = self._searches.change(partial(_add, labels=labels[part], vectors=vectors[part]))
        self._consider(reason)

    def remove(self, labels: Labels) -> None:
        """See VectorIndex."""

        def task(index: SegmentedIndex) -> str | None:
            index.remove(labels)
            return index.wants_rebuild()

        with self._changing:
            reason = self._searches.change(task)
        self._consider(reason)

    def statistics(self) -> IndexStatistics:
        """See VectorIndex."""
        return self._searches.change(SegmentedIndex.statistics)

    def status(self) -> IndexStatus:
        """See VectorIndex."""
        wanted = self._wanted_kind()
        return IndexStatus(
            wanted=wanted,
            estimate=self._estimate(wanted),
            is_building=self._is_building,
            failure=self._failure,
        )

    @property
    def rebuilds(self) -> Mapping[str, int]:
        """See VectorIndex."""
        return dict(self._rebuilds)

    def choose(self, kind: WantedKind) -> None:
        """See VectorIndex; called on the thread that owns the gallery's database."""
        try:
            refuse_too_large(self._estimate(kind), self._saved)
        except Refusal:
            raise
        except AskewError as error:
            raise Refusal(ProblemKind.VALIDATION, str(error)) from None
        if kind == "gpu-exact" and not gpu_count(import_faiss()):
            raise Refusal(
                ProblemKind.VALIDATION,
                "FAISS finds no GPU here: install askew-server[gpu] where there is one, or choose exact.",
            )
        self._store.set_fact(WANTED_KIND, kind)

        def task(index: SegmentedIndex) -> str | None:
            index.wanted = kind
            return index.wants_rebuild()

        self._not_before = 0.0
        self._consider(self._searches.change(task))

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        """See VectorIndex."""

        def is_cancelled() -> bool:
            return cancelled() or self._closed.is_set()

        future = self._background.submit(self._build, report, is_cancelled)
        while not future.done():
            if is_cancelled() and future.cancel():
                raise BuildCancelled("The build was cancelled before it began. The index is as it was before.")
            time.sleep(_PAUSE_SECONDS)
        future.result()
        return self.statistics()

    def close(self) -> None:
        """See VectorIndex."""
        self._closed.set()
        self._background.shutdown(cancel_futures=True)
        self._searches.close()

    @property
    def _is_building(self) -> bool:
        """Whether a rebuild is under way, or waits for its turn."""
        return self._rebuild is not None and not self._rebuild.done()

    def _wanted_kind(self) -> WantedKind:
        return self._searches.change(lambda index: index.wanted)

    def _consider(self, reason: str | None) -> None:
        """Begin a rebuild in the background where there is a reason, and none is under way."""
        if reason is None or self._is_building or self._closed.is_set() or time.monotonic() < self._not_before:
            return
        self._log.info("the index is rebuilt: %s", reason)
        self._rebuild = self._background.submit(self._rebuild_in_background)

    def _rebuild_in_background(self) -> None:
        try:
            for _ in range(_BUILDS_IN_A_ROW):
                self._build(lambda done, total: None, self._closed.is_set)
                # Much may have been written during the build.
                if self._searches.change(SegmentedIndex.wants_rebuild) is None:
                    return
        except BuildCancelled:
            return
        # Whatever it was, the old index continues; a later change tries again.
        except Exception as error:  # noqa: BLE001
            self._not_before = time.monotonic() + _SECONDS_BEFORE_NEXT_TRY
            self._log.exception("the index could not be rebuilt: %s", error)

    def _build(self, report: Report, cancelled: Callable[[], bool]) -> None:
        try:
            with closing(GalleryReader.open(self._folder)) as reader:
                kind = self._estimate(self._wanted_kind()).kind
                if kind == "exact":
                    self._search_all(reader)
                    (self._saved / RECORD).unlink(missing_ok=True)
                elif kind == "gpu-exact":
                    self._load_on_gpu()
                else:
                    self._build_coded(reader, kind, report, cancelled)
            remove_old(self._saved)
        except BuildCancelled:
            raise
        except BaseException as error:
            self._rebuilds["failed"] += 1
            self._failure = str(error)
            raise
        self._rebuilds["ok"] += 1
        self._failure = None

    def _build_coded(
        self, reader: GalleryReader, kind: CodedKind, report: Report, cancelled: Callable[[], bool]
    ) -> None:
        self._saved.mkdir(exist_ok=True)

        def tell(progress: Progress) -> None:
            report(progress.done, progress.total)

        build_in_child(SqliteVectorSource(self._folder / "gallery.db", self._dim), self._saved, kind, tell, cancelled)
        opened = open_main(self._saved, self._dim)
        if opened.main is None:
            raise AskewError(opened.damage or "The index that was built is not there.")
        main = opened.main
        # What has just been written and read back whole needs no verification.
        main.page_in()
        main.state = "ready"
        self._take(main, reader)

    def _take(self, main: MainSegment, reader: GalleryReader) -> None:
        """Search a new main segment from now on."""
        with self._changing:
            if self._is_whole:
                self._searches.change(lambda index: index.replace_main(main))
                return
            index = SegmentedIndex(self._dim, main, self._wanted_kind())
            bring_up_to_date(index, reader, self._dim)
            self._searches.replace(index)
            self._is_whole = True

    def _search_all(self, reader: GalleryReader) -> None:
        """Compare every vector from now on, without a main segment."""
        index = SegmentedIndex(self._dim, None, self._wanted_kind())
        bring_up_to_date(index, reader, self._dim)
        with self._changing:
            # What was written while the vectors were read; nothing is, now.
            bring_up_to_date(index, reader, self._dim)
            self._searches.replace(index)
            self._is_whole = True

    def _load_on_gpu(self) -> None:
        source = SqliteVectorSource(self._folder / "gallery.db", self._dim)

        def task(index: SegmentedIndex) -> str | None:
            loaded = load_on_gpu(import_faiss(), source)
            if loaded.main is not None:
                index.replace_main(loaded.main)
            return loaded.reason

        with self._changing:
            reason = self._searches.change(task)
        if reason is not None:
            raise AskewError(reason)

    def _verify(self, main: MainSegment) -> None:
        """Compare the saved files with their digests, gently; damaged ones are searched no longer, and rebuilt."""
        for number, verified in enumerate(self._verify_saved(self._saved)):
            if self._closed.is_set():
                return
            if verified.damage is not None:
                self._log.error("%s It is rebuilt.", verified.damage)
                main.state = "damaged"
                with closing(GalleryReader.open(self._folder)) as reader:
                    if self._fits_in_memory(reader.counts()[0]):
                        self._search_all(reader)
                self._rebuild_in_background()
                return
            if number % _VERIFIED_AT_ONCE == 0:
                time.sleep(_PAUSE_SECONDS)
        main.page_in()
        main.state = "ready"

    def _estimate(self, wanted: WantedKind) -> Estimate:
        statistics = self.statistics()
        with closing(GalleryReader.open(self._folder)) as reader:
            count = reader.counts()[0]
        return estimate(chosen_kind(wanted, count, self._dim, statistics.kind), count, self._dim)

    def _fits_in_memory(self, count: int) -> bool:
        return 4 * count * self._dim <= _SHARE_OF_MEMORY * free_memory()


def _add(index: SegmentedIndex, labels: Labels, vectors: Vectors) -> str | None:
    index.add(labels, vectors)
    return index.wants_rebuild()


def bring_up_to_date(index: SegmentedIndex, reader: GalleryReader, dim: int) -> None:
    """Whatever the index holds: afterwards it is what the database holds."""
    held, stored = index.labels(), reader.labels()
    index.remove(np.setdiff1d(held, stored, assume_unique=True))
    for labels, vectors in reader.vectors_of(np.setdiff1d(stored, held, assume_unique=True), dim):
        index.add(labels, vectors)


def _wanted(reader: GalleryReader) -> WantedKind:
    match reader.fact(WANTED_KIND):
        case "exact" | "two-stage" | "ivf-two-stage" | "gpu-exact" as kind:
            return kind
        case _:
            return "auto"
