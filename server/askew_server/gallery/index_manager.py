"""Manages the index of one gallery: brings it up to date, changes, verifies and rebuilds it.

Slow work runs on one background thread, one task at a time, so there are never two builds. Searches continue during a
build. The saved index is derived: a missing or damaged one is rebuilt from the database, and until then searches
compare every vector.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from askew_client.contract.indexes import IndexEstimate, IndexKind, WantedKind
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.gallery.rebuilds import Rebuilds
from askew_server.index.build import Progress
from askew_server.index.build_process import BUILD_LIMITS, build_in_child
from askew_server.index.gpu.availability import why_not
from askew_server.index.gpu.cards import refuse_too_large_for_cards
from askew_server.index.gpu.keeper import GpuKeeper
from askew_server.index.gpu.options import FIRST_GPU, GpuOptions
from askew_server.index.main_segment import MainSegment
from askew_server.index.on_disk import VerifyStep, open_main, remove_old, verify_blocks
from askew_server.index.planning import built_kind, chosen_kind, estimate, free_memory, refuse_too_large
from askew_server.index.port import Report, VectorIndex
from askew_server.index.record import RECORD
from askew_server.index.search_thread import SearchThread
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import (
    Allowed,
    CodedKind,
    IndexStatistics,
    IndexStatus,
    Labels,
    Neighbours,
    Vectors,
    labels_of,
)
from askew_server.index.verified import VerifiedIndexes, signature_of
from askew_server.processes import Limits
from askew_server.storage.items import SqliteItemStore
from askew_server.storage.reader import GalleryReader
from askew_server.storage.vector_source import SqliteVectorSource

WANTED_KIND = "index_kind"
"""The name of the gallery's fact that stores the requested kind of index."""

_USABLE_SHARE_OF_MEMORY = 0.8
_ADDED_AT_ONCE = 64
"""Coding this many vectors for the tail takes about as long as a search; searches get their turn in between."""

_BLOCKS_BETWEEN_PAUSES = 16
_PAUSE_SECONDS = 0.02
_SECONDS_BEFORE_REPAIR = 0.5
_MOST_SECONDS_BEFORE_REPAIR = 30.0


OpenIndex = Callable[[str, SqliteItemStore, int], VectorIndex]
"""Opens the index of a gallery: its name, its store, the number of components of its vectors."""


def open_index(
    gallery: str,
    store: SqliteItemStore,
    dim: int,
    *,
    build_limits: Limits = BUILD_LIMITS,
    verified: VerifiedIndexes | None = None,
    gpu: GpuOptions = FIRST_GPU,
) -> VectorIndex:
    """Open the index of a gallery and bring it up to date with its database. Raises EngineMissing.

    `build_limits`: of each build. `verified`: the saved indexes that need not be verified again. `gpu`: how GPUs are used.
    """
    return IndexManager(gallery, store, dim, build_limits=build_limits, verified=verified, gpu=gpu)


class IndexManager:
    """A VectorIndex that uses FAISS: the saved index, its search thread, and its rebuilds."""

    def __init__(
        self,
        gallery: str,
        store: SqliteItemStore,
        dim: int,
        *,
        verify: Callable[[Path], Iterable[VerifyStep]] = verify_blocks,
        build_limits: Limits = BUILD_LIMITS,
        verified: VerifiedIndexes | None = None,
        gpu: GpuOptions = FIRST_GPU,
    ) -> None:
        """Open the saved index in the gallery's folder, and bring it up to date with the database. Raises EngineMissing.

        `verify`: reads the saved files again, step by step. `build_limits`, `verified`, `gpu`: see open_index.
        """
        self._dim = dim
        self._store = store
        self._folder = store.folder
        self._saved = store.folder / "index"
        self._verify_saved = verify
        self._verified = VerifiedIndexes() if verified is None else verified
        self._build_limits = build_limits
        self._log = logging.getLogger(f"askew.index.{gallery}")
        self._changing = threading.Lock()
        self._behind: str | None = None
        is_verified = self._verified.holds(self._saved)
        opened = open_main(self._saved, dim, is_verified=is_verified)
        if opened.damage is not None:
            self._log.error("%s It is being rebuilt.", opened.damage)
        index = SegmentedIndex(dim, opened.main, _wanted(store))
        self._is_whole = opened.main is not None or self._fits_in_memory(store.counts()[0])
        if self._is_whole:
            bring_up_to_date(index, store, dim)
        remove_old(self._saved)
        self._searches = SearchThread(index, gallery)
        self._gpu_options = gpu
        self._gpu = GpuKeeper(gallery, SqliteVectorSource(self._folder / "gallery.db", dim), gpu, self._searches)
        self._gpu.follow(opened.main if index.wanted == "gpu-exact" else None)
        self._rebuilds = Rebuilds(gallery, self._build, lambda: self._searches.change(SegmentedIndex.wants_rebuild))
        if opened.main is not None:
            self._rebuilds.submit(partial(_ready, opened.main) if is_verified else partial(self._verify, opened.main))
        self._rebuilds.begin(self._searches.change(SegmentedIndex.wants_rebuild))

    async def search(self, vectors: Vectors, wanted: int, allowed: Allowed | None, exact: bool) -> Neighbours:
        """See VectorIndex."""
        labels = None if allowed is None else labels_of(allowed)
        return await self._searches.search(vectors, wanted, labels, exact)

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        """See VectorIndex."""
        return self._searches.search_blocking(vectors, wanted)

    def require_ready(self) -> None:
        """Raise Refusal (not-ready) while the saved index is lost and comparing every vector would take too much memory."""
        self._searches.require_open()
        if not self._is_whole:
            raise Refusal(
                ProblemKind.NOT_READY,
                "The saved index of this gallery was lost and is being rebuilt from its database. Nothing else was lost. "
                "Try again in a minute.",
                retry_after=60,
            )

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """See VectorIndex. Adds a few vectors at a time, so that searches get their turn in between."""
        reason = None
        with self._changing, self._noticing_failure():
            for start in range(0, len(labels), _ADDED_AT_ONCE):
                part = slice(start, start + _ADDED_AT_ONCE)
                reason = self._searches.change(partial(_add, labels=labels[part], vectors=vectors[part]))
        self._rebuilds.begin(reason)

    def remove(self, labels: Labels) -> None:
        """See VectorIndex."""

        def task(index: SegmentedIndex) -> str | None:
            index.remove(labels)
            return index.wants_rebuild()

        with self._changing, self._noticing_failure():
            reason = self._searches.change(task)
        self._rebuilds.begin(reason)

    def statistics(self) -> IndexStatistics:
        """See VectorIndex."""
        return replace(self._searches.change(SegmentedIndex.statistics), gpu=self._gpu.state)

    def status(self) -> IndexStatus:
        """See VectorIndex."""
        wanted = self._wanted_kind()
        kind, estimated = self._plan(wanted)
        gpu = self._gpu.state
        failure = self._behind or self._rebuilds.failure or (None if gpu is None else gpu.reason)
        return IndexStatus(wanted, kind, estimated, self._rebuilds.is_building, failure)

    @property
    def rebuilds(self) -> Mapping[str, int]:
        """See VectorIndex."""
        return self._rebuilds.ended

    @property
    def is_building(self) -> bool:
        """See VectorIndex."""
        return self._rebuilds.is_building

    def choose(self, kind: WantedKind) -> None:
        """See VectorIndex."""
        try:
            refuse_too_large(*self._plan(kind), self._saved)
        except Refusal:
            raise
        except AskewError as error:
            raise Refusal(ProblemKind.VALIDATION, str(error)) from None
        if kind == "gpu-exact":
            if (missing := why_not(self._gpu_options)) is not None:
                raise Refusal(ProblemKind.VALIDATION, missing)
            refuse_too_large_for_cards(self.statistics().vectors, self._dim, self._gpu_options)
        self._store.set_fact(WANTED_KIND, kind)

        def task(index: SegmentedIndex) -> tuple[MainSegment | None, str | None]:
            index.wanted = kind
            return index.main, index.wants_rebuild()

        main, reason = self._searches.change(task)
        self._gpu.follow(main if kind == "gpu-exact" else None)
        self._gpu.retry_now()
        self._rebuilds.retry_now()
        self._rebuilds.begin(reason)

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        """See VectorIndex."""
        self._rebuilds.run(report, cancelled)
        return self.statistics()

    def close(self) -> None:
        """See VectorIndex."""
        self._gpu.stop()
        self._rebuilds.close()
        self._searches.close()
        self._gpu.close()

    def _wanted_kind(self) -> WantedKind:
        return self._searches.change(lambda index: index.wanted)

    def _plan(self, wanted: WantedKind) -> tuple[IndexKind, IndexEstimate]:
        """The kind chosen for the gallery's size, and its memory and disk. Raises AskewError."""
        current = self._searches.change(lambda index: index.built)
        with closing(GalleryReader.open(self._folder)) as reader:
            count = reader.counts()[0]
        kind = chosen_kind(wanted, count, self._dim, current)
        return kind, estimate(kind, count, self._dim)

    @contextmanager
    def _noticing_failure(self) -> Iterator[None]:
        """What fails to change here has changed the database already: the index is repaired until it holds the same."""
        try:
            yield
        except Refusal:
            raise
        except Exception as error:
            is_known = self._behind is not None
            self._behind = f"A change is in the database and not in the index: {error or type(error).__name__}."
            self._log.critical("%s The index is being repaired.", self._behind)
            if not is_known:
                self._rebuilds.submit(self._repair)
            raise

    def _repair(self) -> None:
        """Make the index hold what the database holds, and try again until that succeeds."""
        wait = _SECONDS_BEFORE_REPAIR
        while not self._rebuilds.is_closed_after(wait):
            wait = min(2 * wait, _MOST_SECONDS_BEFORE_REPAIR)
            try:
                with closing(GalleryReader.open(self._folder)) as reader, self._changing:
                    if self._is_whole:
                        self._level(reader)
                    self._behind = None
            # Such as memory that is used up: it may be there later.
            except Exception as error:  # noqa: BLE001
                self._log.error("the index could not be repaired yet: %s", error or type(error).__name__)
            else:
                self._log.warning("the index holds what the database holds again")
                return

    def _level(self, reader: GalleryReader) -> None:
        """As bring_up_to_date, for an index that is searched meanwhile, on whose thread nothing is read."""
        held, stored = self._searches.change(SegmentedIndex.labels), reader.labels()
        for labels, vectors in reader.vectors_of(np.setdiff1d(stored, held, assume_unique=True), self._dim):
            self._searches.change(partial(_add, labels=labels, vectors=vectors))
        gone = np.setdiff1d(held, stored, assume_unique=True)
        self._searches.change(lambda index: index.remove(gone))

    def _fits_in_memory(self, count: int) -> bool:
        return 4 * count * self._dim <= _USABLE_SHARE_OF_MEMORY * free_memory()

    def _build(self, report: Report, cancelled: Callable[[], bool]) -> None:
        """Build the kind of index that the gallery should have, and search it from then on."""
        with closing(GalleryReader.open(self._folder)) as reader:
            kind = built_kind(self._plan(self._wanted_kind())[0])
            if kind == "exact":
                self._search_all(reader)
                (self._saved / RECORD).unlink(missing_ok=True)
            else:
                self._build_coded(reader, kind, report, cancelled)
        remove_old(self._saved)

    def _build_coded(
        self, reader: GalleryReader, kind: CodedKind, report: Report, cancelled: Callable[[], bool]
    ) -> None:
        self._saved.mkdir(exist_ok=True)

        def report_progress(progress: Progress) -> None:
            report(progress.done, progress.total)

        source = SqliteVectorSource(self._folder / "gallery.db", self._dim)
        build_in_child(source, self._saved, kind, report_progress, cancelled, self._build_limits)
        signature = signature_of(self._saved)
        opened = open_main(self._saved, self._dim)
        if opened.main is None:
            raise AskewError(opened.damage or f"The index was built, but its files are missing from {self._saved}.")
        main = opened.main
        # The files were just written and read back, so they need no verification.
        _ready(main)
        self._verified.add(self._saved, signature)
        if self._wanted_kind() == "gpu-exact":
            self._gpu.prepare(main)
        self._take(main, reader)
        self._follow()

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
            # Catch up with what was written while the vectors were read; the lock keeps out further changes.
            bring_up_to_date(index, reader, self._dim)
            self._searches.replace(index)
            self._is_whole = True
        self._gpu.follow(None)

    def _follow(self) -> None:
        """Let the GPU follow the main segment that is searched now, if it should."""
        self._gpu.follow(self._searches.change(lambda index: index.main if index.wanted == "gpu-exact" else None))

    def _verify(self, main: MainSegment) -> None:
        """Compare the saved files with their digests, with pauses. A damaged index is taken out of use and rebuilt."""
        signature = signature_of(self._saved)
        for number, verified in enumerate(self._verify_saved(self._saved)):
            if self._rebuilds.is_closed:
                return
            if verified.damage is not None:
                self._log.error("%s It is being rebuilt.", verified.damage)
                main.state = "damaged"
                with closing(GalleryReader.open(self._folder)) as reader:
                    if self._fits_in_memory(reader.counts()[0]):
                        self._search_all(reader)
                self._rebuilds.run_while_needed()
                return
            if number % _BLOCKS_BETWEEN_PAUSES == 0:
                time.sleep(_PAUSE_SECONDS)
        _ready(main)
        self._verified.add(self._saved, signature)


def _ready(main: MainSegment) -> None:
    main.page_in()
    main.state = "ready"


def _add(index: SegmentedIndex, labels: Labels, vectors: Vectors) -> str | None:
    index.add(labels, vectors)
    return index.wants_rebuild()


def bring_up_to_date(index: SegmentedIndex, reader: GalleryReader, dim: int) -> None:
    """Make the index hold exactly the vectors that the database holds."""
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
