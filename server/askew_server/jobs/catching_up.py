"""Catching up, in rounds, with what is written to a gallery while it is described into another one.

A whole pass compares every item, which takes minutes for a million. A round compares those alone that may have changed
since the round before, by the gallery's sequence of changes, as replication does: labels above a number are what was
written since, and gallery/removals tells which labels are gone. What ids these had, a reader knows that still sees the
gallery as it was then.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from askew_server.gallery.live import LiveGallery
from askew_server.jobs.gallery_access import reading, run_in
from askew_server.jobs.kind import Cancelled
from askew_server.jobs.redescription import Redescription
from askew_server.storage.port import ItemReader
from askew_server.storage.reader import GalleryReader

_SHORTER = 0.9


@dataclass(frozen=True)
class _Mark:
    """The old gallery as it was after one change."""

    reader: ItemReader
    sequence: int
    closing: ExitStack


class CatchingUp:
    """The rounds of one job. Its work must have made a whole pass since this was made, before the first round."""

    def __init__(self, source: LiveGallery, work: Redescription, cancelled: Cancelled) -> None:
        self._source = source
        self._work = work
        self._cancelled = cancelled
        self._mark = self._make_mark()
        self._work.touched = set()

    @property
    def sequence(self) -> int:
        """The number of a change of the old gallery: the new one has all changes up to it."""
        return self._mark.sequence

    def catch_up(self) -> None:
        """One round. Raises JobStopped, Refusal."""
        before, self._mark = self._mark, self._make_mark()
        touched, self._work.touched = self._work.touched or set(), set()
        with before.closing:
            ids = self._changed_since(before)
            if ids is None:
                self._work.pass_over()
            else:
                self._work.settle(sorted(ids | touched))

    def catch_up_until_short(self, seconds: float) -> None:
        """Rounds until one takes no longer than this, as little is left then, or hardly shorter than the one before."""
        before = math.inf
        while True:
            began = time.monotonic()
            self.catch_up()
            took = time.monotonic() - began
            if took <= seconds or took > _SHORTER * before:
                return
            before = took

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mark.closing.close()

    def _make_mark(self) -> _Mark:
        with ExitStack() as stack:
            reader = stack.enter_context(reading(self._source, self._cancelled))
            stack.enter_context(reader.snapshot())
            # What is read first decides which moment the reader sees.
            return _Mark(reader, reader.sequence, stack.pop_all())

    def _changed_since(self, before: _Mark) -> set[str] | None:
        """The ids of what changed; None if that is not known, as of a gallery in Milvus, or after too many removals."""
        old = self._work.old
        if not isinstance(old, GalleryReader):
            return None
        removed = run_in(
            self._source,
            lambda each: each.removals.between(before.sequence, each.store.sequence, each.store.sequence),
            self._cancelled,
        )
        if removed is None:
            return None
        parts = before.reader.candidates_in_parts(removed.tolist(), payloads=False, vectors=False, largest=None)
        return {item_id for part in parts for _, item_id, _, _ in part} | set(old.ids_after(before.sequence))
