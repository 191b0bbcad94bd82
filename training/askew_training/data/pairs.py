"""Photos of which some show the same: pairs that somebody listed, or any two photos of one instance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError

Rows = NDArray[np.int64]
Split = Literal["train", "val"]


@dataclass(frozen=True, eq=False)
class PairedPhotos:
    """Photos, and pairs of a query and a positive among them.

    `photos` [N]: all of them; those in no pair can be negatives. `queries`: int64 [P], rows of `photos`; a photo may
    be a query many times. `positives`: int64 [P], the row that belongs to each query; None where any other photo of
    its instance is one, which are too many to list: an instance of ten thousand photos has a hundred million pairs.
    """

    photos: tuple[Photo, ...]
    queries: Rows
    positives: Rows | None

    def draw(self, count: int, random: np.random.Generator) -> tuple[Rows, Rows]:
        """Draw pairs by chance: (queries, positives), int64 [count] each.

        No listed pair, or no query where pairs are not listed, comes again before all others have come. Where they
        are not listed, each query gets any of its mates, all as likely. Raises DataError when there is no pair.
        """
        total = self._total()
        rounds = [random.permutation(total) for _ in range(count // total)]
        picks = np.concatenate([*rounds, random.choice(total, count % total, replace=False)])
        if self.positives is not None:
            return self.queries[picks], self.positives[picks]
        return self.queries[picks], self._mates(picks, random.integers(0, self._groups.others[picks]))

    def once(self) -> tuple[Rows, Rows]:
        """All listed pairs, or every query with one of its mates, always the same: (queries, positives), int64 [P].

        Raises DataError when there is no pair.
        """
        total = self._total()
        if self.positives is not None:
            return self.queries, self.positives
        return self.queries, self._mates(np.arange(total), np.zeros(total, dtype=np.int64))

    def among(self, usable: Iterable[Photo]) -> PairedPhotos:
        """The same without photos that are not `usable`, such as those that cannot be read, and without their pairs."""
        known = frozenset(usable)
        kept = np.array([photo in known for photo in self.photos], dtype=bool)
        photos = [photo for photo, is_kept in zip(self.photos, kept, strict=True) if is_kept]
        if self.positives is None:
            return pairs_within_instances(photos)
        row_of = np.cumsum(kept) - 1
        whole = kept[self.queries] & kept[self.positives]
        return PairedPhotos(tuple(photos), row_of[self.queries[whole]], row_of[self.positives[whole]])

    def _total(self) -> int:
        if not len(self.queries):
            raise DataError(
                f"No two of {len(self.photos)} photos are known to show the same. Give photos with pairs, or with two "
                "of some instance."
            )
        return len(self.queries)

    def _mates(self, picks: Rows, offsets: Rows) -> Rows:
        """The mates of some queries; each offset counts the mates of its query from 0."""
        groups = self._groups
        mates = groups.rows[groups.starts[picks] + offsets]
        # A query stands among the photos of its own instance; where it is met, the last of them takes its place.
        last = groups.rows[groups.starts[picks] + groups.others[picks]]
        return np.asarray(np.where(mates == self.queries[picks], last, mates), dtype=np.int64)

    @cached_property
    def _groups(self) -> _Groups:
        instances = np.unique([photo.instance_id for photo in self.photos], return_inverse=True)[1]
        counts = np.bincount(instances)
        starts = np.cumsum(counts) - counts
        of_query = instances[self.queries]
        return _Groups(np.argsort(instances, kind="stable"), starts[of_query], counts[of_query] - 1)


@dataclass(frozen=True, eq=False)
class _Groups:
    """Photos by instance: `rows` [N]; for each query, where its instance starts in them, and how many mates it has."""

    rows: Rows
    starts: Rows
    others: Rows


def pairs_within_instances(photos: Sequence[Photo]) -> PairedPhotos:
    """Every photo with a mate is a query once, and any other photo of its instance a positive of it.

    Photos without an instance, or alone in theirs, are in no pair.
    """
    seen: dict[str, int] = {}
    for photo in photos:
        seen[photo.instance_id] = seen.get(photo.instance_id, 0) + 1
    queries = [row for row, photo in enumerate(photos) if photo.instance_id and seen[photo.instance_id] > 1]
    return PairedPhotos(tuple(photos), np.array(queries, dtype=np.int64), None)
