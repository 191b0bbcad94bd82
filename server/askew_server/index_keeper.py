"""The index of one gallery from opening to closing: brought up to date, changed, built anew in the background."""

from __future__ import annotations

import numpy as np

from askew_server.index.port import IndexStatistics
from askew_server.index.saved import open_main
from askew_server.index.segmented import SegmentedIndex
from askew_server.searcher import Searcher
from askew_server.store import Change, GalleryStore


class IndexKeeper:
    """An index, the thread that searches it, and what becomes of it."""

    def __init__(self, name: str, store: GalleryStore, dim: int) -> None:
        """Open what is saved in the gallery's folder, and bring it up to date with its database."""
        self._dim = dim
        self._folder = store.folder / "index"
        opened = open_main(self._folder, dim)
        index = SegmentedIndex(dim, opened.main, "auto")
        _bring_up_to_date(index, store, dim)
        self.searcher = Searcher(index, name)

    def apply(self, change: Change) -> None:
        """Bring a committed change into the index; the next search finds it."""

        def task(index: SegmentedIndex) -> None:
            index.remove(change.removed)
            if len(change.added):
                index.add(change.added, change.vectors)

        self.searcher.change(task)

    def statistics(self) -> IndexStatistics:
        """What there is to tell of the index."""
        return self.searcher.change(SegmentedIndex.statistics)

    def close(self) -> None:
        """End the threads."""
        self.searcher.close()


def _bring_up_to_date(index: SegmentedIndex, store: GalleryStore, dim: int) -> None:
    """Whatever the index holds: afterwards it is what the database holds."""
    held, stored = index.labels(), store.labels()
    index.remove(np.setdiff1d(held, stored, assume_unique=True))
    for labels, vectors in store.vectors_of(np.setdiff1d(stored, held, assume_unique=True), dim):
        index.add(labels, vectors)
