"""The index of one gallery from opening to closing: brought up to date, changed, verified, built anew.

What is slow happens on one background thread, one thing at a time: never are there two builds. Searches go on
meanwhile. The saved index is derived: one that is missing or damaged is built from the database, and until then every
vector is compared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.index.build import Progress
from askew_server.index.build_process import BuildCancelled, build_in_child
from askew_server.index.faiss_library import import_faiss
from askew_server.index.gpu import load_on_gpu
from askew_server.index.main_segment import MainSegment
from askew_server.index.on_disk import open_main, remove_old, verify_blocks
from askew_server.index.planning import Estimate, chosen_kind, estimate, free_memory, refuse_too_large
from askew_server.index.record import RECORD
from askew_server.index.search_thread import Searcher
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import CodedKind, IndexStatistics, WantedKind
from askew_server.storage.items import Change, GalleryStore
from askew_server.storage.reader import GalleryReader
from askew_server.storage.vector_source import DatabaseVectors

WANTED_KIND = "index_kind"
"""The fact that holds the kind of index that was asked for."""

_SHARE_OF_MEMORY = 0.8
_SECONDS_BEFORE_NEXT_TRY = 600.0
_ADDED_AT_ONCE = 64
"""Coding so many vectors for the tail takes about as long as a search, and searches take their turn in between."""

_BUILDS_IN_A_ROW = 3
_VERIFIED_AT_ONCE = 16
_PAUSE_SECONDS = 0.02

Report = Callable[[int, int | None], None]


class IndexKeeper:
    """An index, the thread that searches it, and what becomes of it."""

    def __init__(self, name: str, store: GalleryStore, dim: int) -> None:
        """Open what is saved in the gallery's folder, and bring it up to date with its database. Raises EngineMissing."""
        self._dim = dim
        self._folder = store.folder
        self._saved = store.folder / "index"
        self._log = logging.getLogger(f"askew.index.{name}")
        self._changing = threading.Lock()
        self._cancelled = threading.Event()
        self._keeping = ThreadPoolExecutor(1, f"keep-{name}")
        self._rebuild: Future[None] | None = None
        self._not_before = 0.0
        self._failure: str | None = None
        self.rebuilds = {"ok": 0, "failed": 0}
        opened = open_main(self._saved, dim)
        if opened.damage is not None:
            self._log.error("%s It is built anew.", opened.damage)
        index = SegmentedIndex(dim, opened.main, _wanted(store))
        self._is_whole = opened.main is not None or self._fits_in_memory(store.counts()[0])
        if self._is_whole:
            bring_up_to_date(index, store, dim)
        self.searcher = Searcher(index, name)
        remove_old(self._saved)
        if opened.main is not None:
            self._keeping.submit(self._verify, opened.main)
        self._consider(self.searcher.change(SegmentedIndex.wants_rebuild))

    @property
    def failure(self) -> str | None:
        """Why the last rebuild failed, a sentence."""
        return self._failure

    @property
    def is_building(self) -> bool:
        """Whether a rebuild is under way, or waits for its turn."""
        return self._rebuild is not None and not self._rebuild.done()

    def require_whole(self) -> None:
        """Raise Refusal (not-ready) while the saved index is lost and comparing every vector takes too much memory."""
        if not self._is_whole:
            raise Refusal(
                ProblemKind.NOT_READY,
                "The saved index of this gallery was lost, and is built anew from its database. Nothing else is; try again "
                "in a minute.",
                retry_after=60,
            )

    def apply(self, change: Change) -> None:
        """Bring a committed change into the index; the next search finds it."""

        def remove(index: SegmentedIndex) -> str | None:
            index.remove(change.removed)
            return index.wants_rebuild()

        with self._changing:
            for start in range(0, len(change.added), _ADDED_AT_ONCE):
                part = slice(start, start + _ADDED_AT_ONCE)
                self.searcher.change(
                    partial(SegmentedIndex.add, labels=change.added[part], vectors=change.vectors[part])
                )
            # What they replace goes last, so that searches in between do not miss an item more than they must.
            reason = self.searcher.change(remove)
        self._consider(reason)

    def statistics(self) -> IndexStatistics:
        """What there is to tell of the index."""
        return self.searcher.change(SegmentedIndex.statistics)

    def wanted(self) -> WantedKind:
        """The kind of index that was asked for."""
        return self.searcher.change(lambda index: index.wanted)

    def chosen(self) -> Estimate:
        """The kind of index that this gallery gets at its size, and what it takes. Raises AskewError."""
        return self._estimate(self.wanted())

    def want(self, store: GalleryStore, kind: WantedKind) -> None:
        """Have an index of this kind from now on; it is built in the background.

        Raises Refusal: would-not-fit; validation for what this machine or this dimension cannot have.
        """
        try:
            refuse_too_large(self._estimate(kind), self._saved)
        except Refusal:
            raise
        except AskewError as error:
            raise Refusal(ProblemKind.VALIDATION, str(error)) from None
        if kind == "gpu-exact" and not getattr(import_faiss(), "get_num_gpus", lambda: 0)():
            raise Refusal(
                ProblemKind.VALIDATION,
                "There is no GPU that FAISS could use here: install askew-server[gpu] where there is one, or choose exact.",
            )
        store.set_fact(WANTED_KIND, kind)

        def task(index: SegmentedIndex) -> str | None:
            index.wanted = kind
            return index.wants_rebuild()

        self._not_before = 0.0
        self._consider(self.searcher.change(task))

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        """Build the index anew, after what is under way, and wait for it.

        Raises BuildCancelled, BuildFailed, Refusal (would-not-fit).
        """
        stop = _CancelledWhen(lambda: cancelled() or self._cancelled.is_set())
        future = self._keeping.submit(self._build, report, stop)
        while not future.done():
            if stop.is_set() and future.cancel():
                raise BuildCancelled("The build was cancelled before it began. The index is as it was before.")
            time.sleep(_PAUSE_SECONDS)
        future.result()
        return self.statistics()

    def close(self) -> None:
        """End the build, if there is one, and the threads."""
        self._cancelled.set()
        self._keeping.shutdown(cancel_futures=True)
        self.searcher.close()

    def _consider(self, reason: str | None) -> None:
        """Begin a rebuild in the background where there is a reason, and none is under way."""
        if reason is None or self.is_building or self._cancelled.is_set() or time.monotonic() < self._not_before:
            return
        self._log.info("the index is built anew: %s", reason)
        self._rebuild = self._keeping.submit(self._rebuild_in_background)

    def _rebuild_in_background(self) -> None:
        try:
            for _ in range(_BUILDS_IN_A_ROW):
                self._build(lambda done, total: None, self._cancelled)
                # Much may have been written meanwhile.
                if self.searcher.change(SegmentedIndex.wants_rebuild) is None:
                    return
        except BuildCancelled:
            return
        # Whatever it was, the index that there is goes on; a later change tries again.
        except Exception as error:  # noqa: BLE001
            self._not_before = time.monotonic() + _SECONDS_BEFORE_NEXT_TRY
            self._log.exception("the index could not be built anew: %s", error)

    def _build(self, report: Report, cancelled: threading.Event) -> None:
        try:
            with closing(GalleryReader.open(self._folder)) as reader:
                kind = self._estimate(self.wanted()).kind
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
            self.rebuilds["failed"] += 1
            self._failure = str(error)
            raise
        self.rebuilds["ok"] += 1
        self._failure = None

    def _build_coded(self, reader: GalleryReader, kind: CodedKind, report: Report, cancelled: threading.Event) -> None:
        self._saved.mkdir(exist_ok=True)

        def tell(progress: Progress) -> None:
            report(progress.done, progress.total)

        build_in_child(DatabaseVectors(self._folder / "gallery.db", self._dim), self._saved, kind, tell, cancelled)
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
                self.searcher.change(lambda index: index.replace_main(main))
                return
            index = SegmentedIndex(self._dim, main, self.wanted())
            bring_up_to_date(index, reader, self._dim)
            self.searcher.replace(index)
            self._is_whole = True

    def _search_all(self, reader: GalleryReader) -> None:
        """Compare every vector from now on, without a main segment."""
        index = SegmentedIndex(self._dim, None, self.wanted())
        bring_up_to_date(index, reader, self._dim)
        with self._changing:
            # What was written while the vectors were read; nothing is, now.
            bring_up_to_date(index, reader, self._dim)
            self.searcher.replace(index)
            self._is_whole = True

    def _load_on_gpu(self) -> None:
        source = DatabaseVectors(self._folder / "gallery.db", self._dim)

        def task(index: SegmentedIndex) -> str | None:
            loaded = load_on_gpu(import_faiss(), source)
            if loaded.main is not None:
                index.replace_main(loaded.main)
            return loaded.reason

        with self._changing:
            reason = self.searcher.change(task)
        if reason is not None:
            raise AskewError(reason)

    def _verify(self, main: MainSegment) -> None:
        """Compare the saved files with their digests, gently; damaged ones are searched no longer, and built anew."""
        for number, verified in enumerate(verify_blocks(self._saved)):
            if self._cancelled.is_set():
                return
            if verified.damage is not None:
                self._log.error("%s It is built anew.", verified.damage)
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


class _CancelledWhen(threading.Event):
    """An event that is set by a condition."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self._condition = condition

    def is_set(self) -> bool:
        """Whether the condition holds."""
        return self._condition()


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
