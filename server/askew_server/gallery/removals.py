"""Which labels the last changes of a gallery removed: the one thing that its database does not tell a replica."""

from __future__ import annotations

from collections import deque

import numpy as np

from askew_server.index.types import Labels
from askew_server.storage.items import Change

_MOST_LABELS = 200_000
"""Labels that are remembered, 8 bytes each; a replica that is further behind compares all labels instead."""


class Removals:
    """The labels that were removed since the gallery was opened, the newest of them. Used by the gallery's writer thread."""

    def __init__(self, sequence: int) -> None:
        """`sequence`: of the gallery now."""
        self._since = self._through = sequence
        self._changes: deque[tuple[int, Labels]] = deque()
        self._count = 0

    def note(self, change: Change) -> None:
        """Remember what a change removed."""
        before = int(change.added[0]) - 1 if len(change.added) else change.sequence - len(change.removed)
        if before != self._through:
            # A change in between was committed and never told, because what followed its commit failed.
            self._forget(change.sequence)
            return
        self._through = change.sequence
        if len(change.removed):
            self._changes.append((change.sequence, change.removed))
            self._count += len(change.removed)
        while self._count > _MOST_LABELS:
            self._since, forgotten = self._changes.popleft()
            self._count -= len(forgotten)

    def between(self, after: int, through: int, now: int) -> Labels | None:
        """The labels that the changes after one sequence number and up to another one removed; None if that is not known.

        `now`: the gallery's own sequence number.
        """
        if now != self._through:
            self._forget(now)
        if after < self._since:
            return None
        found = [labels for sequence, labels in self._changes if after < sequence <= through]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _forget(self, sequence: int) -> None:
        self._since = self._through = sequence
        self._changes.clear()
        self._count = 0
