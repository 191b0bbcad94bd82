"""Photos of which some show the same: listed pairs, or any two photos of one instance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError

Indices = NDArray[np.int64]
Split = Literal["train", "val"]


@dataclass(frozen=True, eq=False)
class PairedPhotos:
    """Photos, and pairs of a query and a positive among them.

    `photos` [N]: all of them; those in no pair can be negatives. `queries`: int64 [P], indices of `photos`; a photo may
    be a query several times. `positives`: int64 [P], the positive of each query; None if any other photo of the query's
    instance is one, which would be too many to list: an instance of ten thousand photos has a hundred million pairs.
    """

    photos: tuple[Photo, ...]
    queries: Indices
    positives: Indices | None

    def draw(self, count: int, random: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw pairs at random: (queries, positives), int64 [count] each.

        No listed pair (or, if pairs are not listed, no query) is drawn again before all others were. If pairs are not
        listed, the positive of a query is drawn uniformly from the other photos of its instance. Raises DataError if
        there is no pair.
        """
        total = self._total()
        rounds = [random.permutation(total) for _ in range(count // total)]
        picks = np.concatenate([*rounds, random.choice(total, count % total, replace=False)])
        if self.positives is not None:
            return self.queries[picks], self.positives[picks]
        return self.queries[picks], self._mates(picks, random.integers(0, self._groups.others[picks]))

    def once(self) -> tuple[Indices, Indices]:
        """All listed pairs, or every query with one positive, always the same: (queries, positives), int64 [P] each.

        Raises DataError if there is no pair.
        """
        total = self._total()
        if self.positives is not None:
            return self.queries, self.positives
        return self.queries, self._mates(np.arange(total), np.zeros(total, dtype=np.int64))

    def among(self, usable: Iterable[Photo]) -> PairedPhotos:
        """Leave out the photos that are not `usable`, such as those that cannot be read, together with their pairs."""
        known = frozenset(usable)
        kept = np.array([photo in known for photo in self.photos], dtype=bool)
        photos = [photo for photo, is_kept in zip(self.photos, kept, strict=True) if is_kept]
        if self.positives is None:
            return pairs_within_instances(photos)
        new_index = np.cumsum(kept) - 1
        whole = kept[self.queries] & kept[self.positives]
        return PairedPhotos(tuple(photos), new_index[self.queries[whole]], new_index[self.positives[whole]])

    def _total(self) -> int:
        if not len(self.queries):
            raise DataError(
                f"No two of {len(self.photos)} photos are known to show the same. Give photos with listed pairs, or "
                "two photos of some instance."
            )
        return len(self.queries)

    def _mates(self, picks: Indices, offsets: Indices) -> Indices:
        """One other photo of the instance of each picked query, chosen by its offset among them."""
        groups = self._groups
        mates = groups.order[groups.starts[picks] + offsets]
        # The query is itself among the photos of its instance; where the offset points at it, take the last instead.
        last = groups.order[groups.starts[picks] + groups.others[picks]]
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
    """Photos by instance.

    `order` [N]: indices of photos, sorted by instance. For each query, `starts` [P]: where its instance begins in
    `order`; `others` [P]: how many other photos its instance has.
    """

    order: Indices
    starts: Indices
    others: Indices


def pairs_within_instances(photos: Sequence[Photo]) -> PairedPhotos:
    """Make every photo that shares its instance with another a query once, with those others as its positives.

    Photos without an instance, or alone in theirs, are in no pair.
    """
    counts: dict[str, int] = {}
    for photo in photos:
        counts[photo.instance_id] = counts.get(photo.instance_id, 0) + 1
    queries = [index for index, photo in enumerate(photos) if photo.instance_id and counts[photo.instance_id] > 1]
    return PairedPhotos(tuple(photos), np.array(queries, dtype=np.int64), None)
