"""Which items a replica has that its primary has not: what a gap in the sequence of removals is filled with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from askew_server.index.types import Labels
from askew_server.replication.source import Source
from askew_server.replication.tables import labels_of, summary_of
from askew_server.replication.wire import LabelList, RangeSummary
from askew_server.storage.sqlite import Database

_NONE = RangeSummary(count=0, labels=0, checksums=0)


@dataclass(frozen=True)
class Comparison:
    """How a copy differs from its primary, among the items with labels up to the copy's sequence number.

    `sequence`: of the primary when it was read. `gone`: labels that the primary has not, ascending. `missing`: how many
    the copy lacks. `differing`: a label that is another item on the primary; None if there is none.
    """

    sequence: int
    gone: Labels
    missing: int
    differing: int | None


def compare(database: Database, source: Source, name: str, key: str, through: int) -> Comparison:
    """Compare a copy with its primary. `database`: the copy's, inside `reading()`. Raises what Source raises."""
    theirs, ours = source.summary(name, key, through), summary_of(database, through)
    differing = _first_difference(dict(theirs.newest), dict(ours.newest))
    gone: list[int] = []
    missing = 0
    for number in sorted(theirs.ranges.keys() | ours.ranges.keys()):
        if theirs.ranges.get(number, _NONE) == ours.ranges.get(number, _NONE):
            continue
        here = dict(labels_of(database, number).rows)
        remote = source.labels(name, key, number) if number in theirs.ranges else LabelList(rows=[])
        # Those above `through` are not compared: they are on their way.
        there = {label: checksum for label, checksum in remote.rows if label <= through}
        here = {label: checksum for label, checksum in here.items() if label <= through}
        gone += here.keys() - there.keys()
        missing += len(there.keys() - here.keys())
        if differing is None:
            differing = _first_difference(there, here)
    return Comparison(theirs.sequence, np.array(sorted(gone), dtype=np.int64), missing, differing)


def _first_difference(theirs: dict[int, int], ours: dict[int, int]) -> int | None:
    return min((label for label in theirs.keys() & ours.keys() if theirs[label] != ours[label]), default=None)
