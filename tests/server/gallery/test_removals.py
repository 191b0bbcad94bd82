"""What a gallery remembers of removed labels, and that it says so when it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from askew_server.gallery import removals
from askew_server.gallery.removals import Removals
from askew_server.storage.items import Change


def added(sequence: int, count: int, *removed: int) -> Change:
    labels = np.arange(sequence - count + 1, sequence + 1, dtype=np.int64)
    return Change(sequence, labels, np.zeros((count, 2), dtype=np.float32), np.array(removed, dtype=np.int64))


def deleted(sequence: int, *removed: int) -> Change:
    return Change(sequence, np.empty(0, np.int64), np.empty((0, 0), np.float32), np.array(removed, dtype=np.int64))


def between(known: Removals, after: int, through: int, now: int) -> list[int] | None:
    found = known.between(after, through, now)
    return None if found is None else found.tolist()


def test_it_tells_what_the_changes_between_two_numbers_removed() -> None:
    known = Removals(10)
    known.note(added(12, 2, 4))
    known.note(deleted(14, 5, 11))
    known.note(deleted(14))
    known.note(added(15, 1))
    assert between(known, 10, 15, 15) == [4, 5, 11]
    assert between(known, 12, 14, 15) == [5, 11]
    assert between(known, 10, 12, 15) == [4]
    assert between(known, 15, 15, 15) == []
    assert between(known, 9, 15, 15) is None


def test_a_change_that_it_was_not_told_of_leaves_it_without_an_answer() -> None:
    known = Removals(10)
    known.note(deleted(11, 3))
    known.note(deleted(13, 4))
    assert between(known, 10, 13, 13) is None
    assert between(known, 13, 13, 13) == []
    assert between(known, 13, 14, 14) is None, "the last change was committed and not told"
    known.note(deleted(15, 6))
    assert between(known, 14, 15, 15) == [6]


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removals, "_MOST_LABELS", 3)
    known = Removals(0)
    for sequence in range(1, 6):
        known.note(deleted(sequence, 100 + sequence))
    assert between(known, 2, 5, 5) == [103, 104, 105]
    assert between(known, 1, 5, 5) is None
